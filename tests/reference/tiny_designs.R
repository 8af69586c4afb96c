# lme4's lowest deviance on some of the tiny designs: three optimisers from 13 starts each.
# Run: python tiny_designs.py FOLDER; Rscript tiny_designs.R FOLDER   (writes tiny_designs_lme4.csv)
suppressMessages({
  library(lme4)
  library(minqa)
})

folder <- commandArgs(trailingOnly = TRUE)[1]
designs <- read.csv(file.path(folder, "designs.csv"))
unmoved <- lmerControl(check.nobs.vs.rankZ = "ignore", check.nobs.vs.nRE = "ignore",
                       check.scaleX = "ignore")

lowest <- function(devfun, lower, start) {
  found <- c(
    tryCatch(bobyqa(start, devfun, lower = lower,
                    control = list(rhobeg = 0.05, rhoend = 1e-9, maxfun = 1e5))$fval,
             error = function(e) Inf),
    tryCatch(Nelder_Mead(devfun, start, lower = lower,
                         control = list(maxfun = 20000, FtolAbs = 1e-12, FtolRel = 1e-14,
                                        XtolRel = 1e-10, MinfMax = -1e300))$fval,
             error = function(e) Inf),
    tryCatch(nlminb(start, devfun, lower = lower,
                    control = list(eval.max = 5000, iter.max = 5000, rel.tol = 1e-14))$objective,
             error = function(e) Inf))
  found
}

one <- function(row) {
  d <- read.csv(file.path(folder, paste0(row$seed, ".csv")))
  text <- paste0("y ~ ", row$fixed, " + (", row$random, " | g)")
  lf <- lFormula(as.formula(text), d, REML = row$method == "REML", control = unmoved)
  devfun <- do.call(mkLmerDevfun, c(lf, list(start = NULL, control = unmoved)))
  lower <- lf$reTrms$lower
  diagonal <- is.finite(lower)
  size <- 1 / sqrt(colMeans(as.matrix(cbind(1, d[setdiff(names(d), c("g", "y"))]))^2))
  names(size) <- c("(Intercept)", setdiff(names(d), c("g", "y")))
  rows <- size[lf$reTrms$cnms$g]
  q <- length(rows)
  # lme4's theta runs down the columns of the lower triangle.
  scale <- unlist(lapply(seq_len(q), function(k) rows[k:q]))
  tilts <- list(0, 0.9, -0.9)
  starts <- list(lf$reTrms$theta)
  for (s in c(0.03, 0.3, 3, 30)) for (tilt in tilts)
    starts <- c(starts, list(unname(s * scale * ifelse(diagonal, 1, tilt))))
  found <- unlist(lapply(starts, function(start) lowest(devfun, lower, start)))
  data.frame(seed = row$seed, method = row$method, check = round(sum(d$y), 3),
             deviance = sprintf("%.9f", min(found)), default = sprintf("%.9f", found[1]))
}

file <- file("tiny_designs_lme4.csv", "w")
writeLines(sprintf("# tiny_designs.R: %s, lme4 %s, minqa %s", R.version.string,
                   packageVersion("lme4"), packageVersion("minqa")), file)
for (i in seq_len(nrow(designs))) {
  write.table(one(designs[i, ]), file, sep = ",", row.names = FALSE, quote = FALSE,
              col.names = i == 1)
  flush(file)
}
close(file)
