# The lowest deviance that glmer finds from several starts where groups lie apart on a predictor,
# and the standard deviation between groups there: of all starts, and of those that end below 10.
# Run: python binary_apart.py FOLDER; Rscript binary_apart.R FOLDER   (writes binary_apart.csv)
suppressMessages(library(lme4))
folder <- commandArgs(trailingOnly = TRUE)[1]
every <- read.csv(file.path(folder, "binary_apart_rows.csv"))
one <- function(rows) {
  unit <- max(rows$apart[1], 1)
  rows$x <- (rows$x - mean(rows$x)) / unit
  found <- list()
  for (slope in c(0, 0.3, 1, 2)) {
    wide <- sd(slope * unit * tapply(rows$x, rows$g, mean))
    for (theta in unique(c(0.05, 1, max(wide, 0.5)))) {
      fit <- tryCatch(suppressWarnings(suppressMessages(
        glmer(y ~ x + (1 | g), rows, binomial, nAGQ = 25,
              start = list(theta = theta, fixef = c(qlogis(mean(rows$y)), slope * unit)),
              control = glmerControl(optimizer = "bobyqa", calc.derivs = FALSE,
                                     optCtrl = list(rhobeg = 0.1, rhoend = 1e-7, maxfun = 4000))))),
        error = function(e) NULL)
      if (!is.null(fit)) found <- c(found, list(c(-2 * as.numeric(logLik(fit)), getME(fit, "theta"))))
    }
  }
  found <- do.call(rbind, found)
  near <- found[found[, 2] < 10, , drop = FALSE]
  best <- found[which.min(found[, 1]), ]
  below <- if (nrow(near)) near[which.min(near[, 1]), ] else c(NA, NA)
  data.frame(seed = rows$seed[1], deviance = best[1], sd = best[2], below = below[1],
             sd_below = below[2])
}
out <- do.call(rbind, lapply(split(every, every$seed), one))
out[-1] <- lapply(out[-1], function(v) sprintf("%.10g", v))
file <- file("binary_apart.csv", "w")
writeLines(sprintf("# binary_apart.R: %s, lme4 %s", R.version.string, packageVersion("lme4")), file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
