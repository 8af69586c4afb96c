# Polished lme4 of formulas put together at random. What is written does not depend on how columns
# are coded: rank of the fixed part, deviance, squares of the fitted fixed part and the variance of
# it summed over rows, the residual SD, and the variance of the random part summed over rows.
# Run: python attack.py FOLDER; Rscript attack.R FOLDER   (writes attack.csv)
source("polish.R")
folder <- commandArgs(trailingOnly = TRUE)[1]
C <- function(x) factor(x)
frames <- sapply(c("plain", "far", "few", "many"), function(name) {
  rows <- read.csv(file.path(folder, paste0("attack_", name, ".csv")), stringsAsFactors = TRUE)
  within(rows, { flag <- flag == "True"; up <- up == "True" })
}, simplify = FALSE)
cases <- read.csv(file.path(folder, "attack_formulas.csv"))
one <- function(i) {
  case <- cases[i, ]
  nothing <- data.frame(case, rank = NA, deviance = NA, fitted = NA, unsure = NA, sigma = NA,
                        between = NA)
  tryCatch(suppressWarnings(suppressMessages({
    lf <- lFormula(as.formula(case$formula), frames[[case$frame]], REML = case$method == "REML",
                   control = lmerControl(check.rankX = "silent.drop.cols",
                                         check.nobs.vs.nRE = "ignore"))
    fit <- polish(lf, case$method)$fit
    x <- getME(fit, "X")
    z <- getME(fit, "mmList")
    covariances <- VarCorr(fit)
    between <- sum(sapply(seq_along(z), function(k) {
      g <- matrix(covariances[[k]], ncol(z[[k]]))
      sum((z[[k]] %*% g) * z[[k]])
    }))
    data.frame(case, rank = ncol(x), deviance = if (isREML(fit)) REMLcrit(fit) else deviance(fit),
               fitted = sum((x %*% fixef(fit))^2),
               unsure = sum((x %*% as.matrix(vcov(fit))) * x),
               sigma = sigma(fit), between = between)
  })), error = function(e) nothing)
}
out <- do.call(rbind, lapply(seq_len(nrow(cases)), one))
numbers <- c("deviance", "fitted", "unsure", "sigma", "between")
out[numbers] <- lapply(out[numbers], function(v) sprintf("%.12g", v))
file <- file("attack.csv", "w")
writeLines(sprintf("# attack.R: %s, lme4 %s", R.version.string, packageVersion("lme4")), file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
