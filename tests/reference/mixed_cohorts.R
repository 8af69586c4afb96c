# Polished lme4 fits, and what lme4 and nlme reach by default, on the cohorts of mixed_cohorts.py.
# Run: python mixed_cohorts.py FOLDER; Rscript mixed_cohorts.R FOLDER   (writes mixed_cohorts.csv)
source("polish.R")
suppressMessages(library(nlme))

folder <- commandArgs(trailingOnly = TRUE)[1]
peer <- function(call) tryCatch(suppressMessages(suppressWarnings(call)), error = function(e) NA)

one <- function(seed) {
  d <- read.csv(file.path(folder, paste0(seed, ".csv")))
  three <- seed >= 160
  # Centred on a constant near the mean, so that the units do not trouble lme4.
  d$x <- d$x - 13
  d$w <- d$w - 11
  text <- if (three) y ~ x + w + (1 + x + w | g) else y ~ x + w + (1 + x | g)
  rows <- lapply(c("ML", "REML"), function(method) {
    reml <- method == "REML"
    lf <- lFormula(text, d, REML = reml)
    best <- polish(lf, method)
    diagonal <- is.finite(lf$reTrms$lower)
    default <- peer({
      f <- lmer(text, d, REML = reml)
      if (reml) REMLcrit(f) else deviance(f, REML = FALSE)
    })
    by_nlme <- peer(-2 * as.numeric(logLik(
      lme(y ~ x + w, d, random = if (three) ~ 1 + x + w | g else ~ 1 + x | g, method = method))))
    data.frame(seed = seed, method = method, check = sum(d$y),
               deviance = sprintf("%.12f", best$value),
               singular = any(abs(best$theta[diagonal]) < 1e-6),
               intercept_variance = sprintf("%.9f", VarCorr(best$fit)$g[1, 1]),
               default = sprintf("%.12f", default), nlme = sprintf("%.12f", by_nlme))
  })
  do.call(rbind, rows)
}

out <- do.call(rbind, lapply(0:199, one))
file <- file("mixed_cohorts.csv", "w")
writeLines(sprintf("# mixed_cohorts.R: %s, lme4 %s, nlme %s, minqa %s", R.version.string,
                   packageVersion("lme4"), packageVersion("nlme"), packageVersion("minqa")), file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
