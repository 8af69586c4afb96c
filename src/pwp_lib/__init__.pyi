from .data.measures import GAD7 as GAD7
from .data.measures import MEASURES as MEASURES
from .data.measures import Measure as Measure
from .data.measures import PHQ9 as PHQ9
from .data.measures import get_measure as get_measure
from .engine.design import DesignMoments as DesignMoments
from .errors import InputError as InputError
