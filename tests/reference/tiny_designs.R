# lme4's lowest deviance on the tiny designs: from 13 starts two of its optimisers loosely, then
# from the best two ends that differ all three of them tightly. Some two seconds for three designs.
# Run: python tiny_designs.py FOLDER; Rscript tiny_designs.R FOLDER   (writes tiny_designs_lme4.csv)
suppressMessages({
  library(lme4)
  library(minqa)
})

folder <- commandArgs(trailingOnly = TRUE)[1]
designs <- read.csv(file.path(folder, "designs.csv"))
unmoved <- lmerControl(check.nobs.vs.rankZ = "ignore", check.nobs.vs.nRE = "ignore",
                       check.scaleX = "ignore")

# One descent of each optimiser, tight or loose; where it fails, where it began.
descend <- function(devfun, lower, start, tight) {
  ends <- list(
    tryCatch(bobyqa(start, devfun, lower = lower,
                    control = list(rhobeg = 0.05, rhoend = if (tight) 1e-9 else 1e-4,
                                   maxfun = 1e5))[c("par", "fval")],
             error = function(e) list(start, Inf)),
    tryCatch(nlminb(start, devfun, lower = lower,
                    control = list(eval.max = 5000, iter.max = 5000,
                                   rel.tol = if (tight) 1e-14 else 1e-7))[c("par", "objective")],
             error = function(e) list(start, Inf)),
    if (tight) tryCatch(
      Nelder_Mead(start, fn = devfun, lower = lower,
                  control = list(maxfun = 20000, FtolAbs = 1e-12, FtolRel = 1e-14,
                                 XtolRel = 1e-10, MinfMax = -1e300))[c("par", "fval")],
      error = function(e) list(start, Inf)))
  lapply(Filter(Negate(is.null), ends), unname)
}

# All starts loosely by two optimisers, then the best two ends that differ tightly by three.
lowest <- function(devfun, lower, starts) {
  ends <- unlist(lapply(starts, function(start) descend(devfun, lower, start, FALSE)),
                 recursive = FALSE)
  found <- vapply(ends, `[[`, 0, 2)
  ends <- ends[order(found)]
  found <- sort(found)
  near <- c(1, which(found > found[1] + 1e-3 & is.finite(found))[1])
  kept <- lapply(ends[near[!is.na(near)]], `[[`, 1)
  polished <- lapply(kept, function(start) descend(devfun, lower, start, TRUE))
  default <- bobyqa(starts[[1]], devfun, lower = lower,
                    control = list(rhobeg = 0.05, rhoend = 1e-9, maxfun = 1e5))$fval
  value <- vapply(unlist(polished, recursive = FALSE), `[[`, 0, 2)
  c(min(value, found, default), default)
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
  # A copy: the deviance function writes into its own.
  starts <- list(lf$reTrms$theta + 0)
  for (s in c(0.03, 0.3, 3, 30)) for (tilt in tilts)
    starts <- c(starts, list(unname(s * scale * ifelse(diagonal, 1, tilt))))
  found <- lowest(devfun, lower, starts)
  data.frame(seed = row$seed, method = row$method, check = round(sum(d$y), 3),
             deviance = sprintf("%.9f", found[1]), default = sprintf("%.9f", found[2]))
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
