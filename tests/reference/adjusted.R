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
  lmer(as.formula(paste(y, "~", terms, "+", random)), d, REML = reml, control = tight)
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
# Of whom the others did better: means of what the fixed part leaves, of the model of this file.
fit <- fitted(d[!lacks, ], full)
rest <- (d$phq9_post[!lacks] - predict(fit, re.form = NA))
own <- tapply(rest, d$therapist_id[!lacks], mean)
better <- own[d$therapist_id] < 0
fills <- list(0, mean(gain), ifelse(better, ends[1], ends[2]), ifelse(better, ends[2], ends[1]))
for (i in seq_along(fills)) {
  last <- pmin(27, pmax(0, d$phq9_pre - fills[[i]]))
  f <- d
  f$phq9_post <- ifelse(lacks, last, d$phq9_post)
  keep(paste0("filled_", i), share(fitted(f, full)))
}
write.csv(out, "adjusted.csv", row.names = FALSE)
