# nlme's models with a residual SD that depends on a predictor, ML and REML.
# Run: python references_data.py FOLDER; Rscript spread.R FOLDER   (writes spread.csv)
# `ratio` is against the same model with delta = 0.
suppressMessages(library(nlme))
folder <- commandArgs(trailingOnly = TRUE)[1]
p <- read.csv("../../src/pwp_lib/packaged/patients.csv")
cohort <- function(own, other) data.frame(
  g = p$therapist_id, y = p[[paste0(own, "_post")]],
  x = p[[paste0(own, "_pre")]] - mean(p[[paste0(own, "_pre")]]),
  w = p[[paste0(other, "_pre")]] - mean(p[[paste0(other, "_pre")]]),
  v = p[[paste0(own, "_pre")]])
simulated <- function(name) {
  d <- read.csv(file.path(folder, paste0("spread_", name, ".csv")))
  transform(d, x = v - mean(v))
}
sets <- list(phq9 = cohort("phq9", "gad7"), gad7 = cohort("gad7", "phq9"),
             power = simulated("power"), exp = simulated("exp"))
cases <- expand.grid(data = names(sets), spread = c("power", "exp"),
                     random = c("intercept", "slope"), method = c("ML", "REML"),
                     stringsAsFactors = FALSE)
tight <- lmeControl(maxIter = 500, msMaxIter = 1000, msMaxEval = 5000, tolerance = 1e-12,
                    msTol = 1e-13, niterEM = 50, returnObject = TRUE)
one <- function(case) {
  d <- sets[[case$data]]
  fixed <- if (is.null(d$w)) y ~ x else y ~ x * w
  # A first score of zero has a log, as PHQ-9 + 1.
  d$p <- d$v + if (case$data %in% c("phq9", "gad7")) 1 else 0
  weights <- if (case$spread == "power") varPower(form = ~ p) else varExp(form = ~ v)
  random <- if (case$random == "slope") ~ 1 + x | g else ~ 1 | g
  call <- function(...) lme(fixed, d, random, method = case$method, control = tight, ...)
  plain <- call()
  fit <- tryCatch(call(weights = weights), error = function(e) NULL)
  if (is.null(fit)) return(NULL)
  g <- as.matrix(getVarCov(fit))
  data.frame(case, delta = as.numeric(coef(fit$modelStruct$varStruct)), sigma2 = fit$sigma^2,
             deviance = -2 * as.numeric(logLik(fit)),
             ratio = 2 * as.numeric(logLik(fit) - logLik(plain)),
             intercept = fixef(fit)[["(Intercept)"]], x = fixef(fit)[["x"]],
             se_intercept = sqrt(vcov(fit)[1, 1]) , se_x = sqrt(vcov(fit)[2, 2]),
             variance = g[1, 1],
             covariance = if (nrow(g) > 1) g[1, 2] else NA,
             slope_variance = if (nrow(g) > 1) g[2, 2] else NA)
}
out <- do.call(rbind, lapply(seq_len(nrow(cases)), function(i) one(cases[i, ])))
numbers <- setdiff(names(out), names(cases))
out[numbers] <- lapply(out[numbers], function(v) ifelse(is.na(v), "", sprintf("%.10g", v)))
file <- file("spread.csv", "w")
writeLines(sprintf("# spread.R: %s, nlme %s", R.version.string, packageVersion("nlme")), file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
