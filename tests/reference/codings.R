# What fixed parts with categories span in R: rank and residual sum of squares, and what lme4
# makes of them beside a random intercept: rank and deviance.
# Run: python codings.py FOLDER; Rscript codings.R FOLDER   (writes codings.csv)
suppressMessages(library(lme4))
folder <- commandArgs(trailingOnly = TRUE)[1]
rows <- read.csv(file.path(folder, "codings_rows.csv"), stringsAsFactors = TRUE)
C <- function(x) factor(x)
tight <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE, check.rankX = "silent.drop.cols",
                     optCtrl = list(rhobeg = 0.02, rhoend = 1e-10, maxfun = 50000))
one <- function(side) {
  flat <- lm(as.formula(paste("y ~", side)), rows)
  mixed <- lmer(as.formula(paste("y ~", side, "+ (1 | g)")), rows, REML = FALSE, control = tight)
  data.frame(side = side, rank = flat$rank, columns = length(coef(flat)),
             rss = sprintf("%.12g", sum(resid(flat)^2)),
             deviance = sprintf("%.12g", -2 * as.numeric(logLik(mixed))))
}
out <- do.call(rbind, lapply(readLines(file.path(folder, "codings_formulas.txt")), one))
file <- file("codings.csv", "w")
writeLines(sprintf("# codings.R: %s, lme4 %s", R.version.string, packageVersion("lme4")), file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
