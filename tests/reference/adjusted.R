# Other analyses, bounds of missing last scores and the residual SD, with the case mix in the model,
# by lme4. Of the rows of case_mix.py; for the bounds every seventh patient lacks a last score.
# python case_mix.py FOLDER; Rscript adjusted.R FOLDER
library(lme4)
all <- read.csv(file.path(commandArgs(TRUE)[1], "case_mix.csv"))
out <- data.frame()
keep <- function(what, value)
  out <<- rbind(out, data.frame(what, value = signif(unname(value), 10)))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhoend = 1e-10),
                     check.conv.singular = "ignore")
# Genders of fewer than 20 of those analysed are one category; who has no income has the mean.
coded <- function(d, analysed) {
  rare <- names(which(table(analysed$gender) < 20))
  stopifnot(sum(analysed$gender %in% rare) < 20)  # too few together: in no category
  g <- ifelse(d$gender %in% rare, NA, as.character(d$gender))
  known <- analysed$gender[!(analysed$gender %in% rare)]
  for (k in setdiff(unique(known), "f"))
    d[[paste0("g", k)]] <- ifelse(is.na(g), mean(known == k), as.numeric(g == k))
  d$unknown <- as.numeric(is.na(d$income))
  d$money <- ifelse(is.na(d$income), mean(analysed$income, na.rm = TRUE), d$income) / 1000
  d
}
fitted <- function(d, terms, random = "(1 + x | therapist_id)", reml = FALSE, y = "phq9_post") {
  d$x <- d$phq9_pre - mean(d$phq9_pre)
  # From one start it can stop at a variance of zero where from another the deviance is lower.
  fits <- lapply(c(1, .3, .05), function(start) {
    theta <- if (grepl("x", random)) start * c(1, 0, .3) else start
    lmer(as.formula(paste(y, "~", terms, "+", random)), d, REML = reml, control = tight, start = theta)
  })
  fits[[which.min(sapply(fits, function(f) getME(f, "devcomp")$cmp[[if (reml) "REML" else "dev"]]))]]
}
share <- function(fit) {
  v <- as.data.frame(VarCorr(fit))
  100 * v$vcov[1] / (v$vcov[1] + sigma(fit)^2)
}
d <- coded(all, all)
mix <- paste(c("area", grep("^g[a-z]+$", setdiff(names(d), "gender"), value = TRUE), "unknown", "money"),
             collapse = " + ")
full <- paste("x +", mix)
main <- fitted(d, full)
keep("Random slope, ML, all patients", share(main))
keep("sigma", sigma(main))
keep("Random slope, REML", share(fitted(d, full, reml = TRUE)))
keep("Random intercept, ML", share(fitted(d, full, "(1 | therapist_id)")))
keep("No pre scores", share(fitted(d, mix, "(1 | therapist_id)")))
keep("No case mix", share(fitted(d, "x")))
d$better <- as.numeric(d$phq9_pre - d$phq9_post >= 6)
keep("Reliable improvement (linear probability)",
     share(fitted(d, full, "(1 | therapist_id)", y = "better")))
for (t in c("T00", "T50"))
  keep(paste("Without", t), share(fitted(d[d$therapist_id != t, ], full)))

holes <- all
lacks <- all$patient_id %% 7 == 3
holes$phq9_post[lacks] <- NA
d <- coded(holes, holes[!lacks, ])
keep("left out", share(fitted(d[!lacks, ], full)))
gain <- (d$phq9_pre - d$phq9_post)[!lacks]
ends <- quantile(gain, c(.1, .9))
with <- function(change) {
  f <- d
  f$phq9_post <- ifelse(lacks, pmin(27, pmax(0, d$phq9_pre - change)), d$phq9_post)
  f
}
# Means of what the line leaves, with the one change and the other; which of these two each
# therapist has where they lie furthest apart: found by changing one after the other while it helps.
line <- predict(fitted(with(mean(gain)), full), re.form = NA)
means <- sapply(ends, function(e) tapply(with(e)$phq9_post - line, d$therapist_id, mean))
low <- apply(means, 1, min); high <- apply(means, 1, max)
extremes <- function(w) {
  spread <- function(x) sum(w * (x - sum(w * x) / sum(w))^2)
  to <- optimize(function(t) spread(pmin(pmax(t, low), high)), range(means), tol = 1e-12)$minimum
  # Where any value between is as good, the nearest to the line.
  if (max(low) < min(high)) to <- sort(c(max(low), 0, min(high)))[2]
  climbed <- function(x) {
    repeat {
      before <- spread(x)
      for (i in seq_along(x)) for (e in c(low[i], high[i])) {
        y <- x; y[i] <- e
        if (spread(y) > spread(x)) x <- y
      }
      if (spread(x) <= before) return(x)
    }
  }
  tries <- lapply(1:200, function(k) climbed(ifelse(runif(length(low)) < .5, low, high)))
  list(pmin(pmax(to, low), high), tries[[which.max(sapply(tries, spread))]])
}
set.seed(1)
n <- as.numeric(table(d$therapist_id))
place <- function(x) {
  s <- ifelse(means[, 2] == means[, 1], 0, (x - means[, 1]) / (means[, 2] - means[, 1]))
  ends[1] + diff(ends) * s[as.character(d$therapist_id)]
}
fills <- c(list(0, mean(gain), ends[1], ends[2]), lapply(c(extremes(n / n), extremes(n)), place))
found <- sapply(fills, function(change) share(fitted(with(change), full)))
for (i in 1:2) keep(paste0("filled_", i), found[i])
keep("filled_3", min(found))
keep("filled_4", max(found))
write.csv(out, "adjusted.csv", row.names = FALSE)
