from .engine.design import DesignMoments as DesignMoments
from .errors import InputError as InputError
