# The packaged cohort's figures without our library: lme4 (polished) for the models, base R for
# the rest. Keys are the ids of src/pwp_lib/published.csv.
# Run in this folder: Rscript cohort_check.R [folder of the cohort]
# Writes cohort_check.json, with versions and the hash of the patients' file, for
# tests/calibration/test_packaged.py.

suppressMessages({
  library(lme4)
  library(jsonlite)
})
options(digits = 17)
given <- commandArgs(trailingOnly = TRUE)
folder <- if (length(given)) given[1] else "../../src/pwp_lib/packaged"
p <- read.csv(file.path(folder, "patients.csv"), na.strings = "")
th <- read.csv(file.path(folder, "therapists.csv"), na.strings = "")
out <- list()
put <- function(name, value) out[[name]] <<- as.numeric(value)

# --- people ---------------------------------------------------------------------------------
load <- table(p$therapist_id)
put("people.patients", nrow(p))
put("people.therapists", length(load))
put("people.services", length(unique(p$service_id)))
put("people.caseload_sd", sd(load))
put("people.caseload_min", min(load))
put("people.caseload_max", max(load))
age_by <- tapply(p$age, p$therapist_id, mean)
put("people.caseload_age_min", min(age_by))
put("people.caseload_age_max", max(age_by))
for (v in c("age", "sessions")) {
  put(paste0("people.", v, "_mean"), mean(p[[v]]))
  put(paste0("people.", v, "_sd"), sd(p[[v]]))
  put(paste0("people.", v, "_min"), min(p[[v]]))
  put(paste0("people.", v, "_max"), max(p[[v]]))
}
put("people.female_percent", 100 * mean(p$gender == "female"))
put("people.ethnicity_not_available", 100 * mean(is.na(p$ethnicity)))
put("people.ethnicity_caucasian", 100 * sum(p$ethnicity == "Caucasian", na.rm = TRUE) / nrow(p))
put("people.therapists_male", sum(th$gender == "male"))
put("people.experience_mean", mean(th$years_experience))
put("people.therapist_age_mean", mean(th$age))
put("people.therapist_age_sd", sd(th$age))
put("people.supervisors", sum(!is.na(th$supervisor_experientiality)))

# --- models ---------------------------------------------------------------------------------
# lme4's default optimum is good to three to five digits; start BOBYQA again, tightly, from there
# and from elsewhere, and take the better.
tight <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE, check.conv.singular = "ignore",
                     optCtrl = list(rhobeg = 0.02, rhoend = 1e-10, maxfun = 50000))
polished <- function(formula, data, starts) {
  fits <- lapply(starts, function(s) lmer(formula, data, REML = FALSE, start = s, control = tight))
  again <- lapply(fits, function(f)
    lmer(formula, data, REML = FALSE, start = getME(f, "theta"), control = tight))
  all <- c(fits, again)
  all[[which.max(sapply(all, logLik))]]
}
# Expected information of (sigma2, t00, t01, t11), as MLwiN prints it.
variance_se <- function(fit, x, g) {
  s2 <- sigma(fit)^2
  tau <- as.matrix(VarCorr(fit)[[1]])
  parts <- lapply(split(x, g), function(xj) {
    z <- cbind(1, xj)
    vi <- solve(z %*% tau %*% t(z) + diag(s2, length(xj)))
    d <- list(diag(length(xj)), z[, 1] %o% z[, 1], z[, 1] %o% z[, 2] + z[, 2] %o% z[, 1],
              z[, 2] %o% z[, 2])
    w <- lapply(d, function(k) vi %*% k)
    outer(1:4, 1:4, Vectorize(function(a, b) 0.5 * sum(w[[a]] * t(w[[b]]))))
  })
  sqrt(diag(solve(Reduce(`+`, parts))))[c(2, 4)]
}
fit_measure <- function(m) {
  o <- setdiff(c("phq9", "gad7"), m)
  d <- data.frame(y = p[[paste0(m, "_post")]], g = p$therapist_id)
  d$own <- p[[paste0(m, "_pre")]] - mean(p[[paste0(m, "_pre")]])
  d$other <- p[[paste0(o, "_pre")]] - mean(p[[paste0(o, "_pre")]])
  single <- lm(y ~ own * other, d)
  one <- polished(y ~ own * other + (1 | g), d, list(0.3, 1))
  two <- polished(y ~ own * other + (1 + own | g), d, list(c(0.3, 0.01, 0.02), c(1, 0, 0.1)))
  lr1 <- as.numeric(2 * (logLik(one) - logLik(single)))
  lr2 <- as.numeric(2 * (logLik(two) - logLik(one)))
  tau <- as.matrix(VarCorr(two)[[1]])
  # lme4's standard errors of fixed effects put in the ML variances, as MLwiN's do.
  se <- sqrt(diag(as.matrix(vcov(two))))
  vse <- variance_se(two, d$own, d$g)
  key <- function(k) paste0("models.", m, ".", k)
  put(key("lr_intercept"), lr1)
  put(key("lr_slope"), lr2)
  put(key("intercept"), fixef(two)[["(Intercept)"]])
  put(key("intercept_se"), se[1])
  put(key("intercept_variance"), tau[1, 1])
  put(key("intercept_variance_se"), vse[1])
  put(key("slope"), fixef(two)[["own"]])
  put(key("slope_se"), se[2])
  put(key("slope_variance"), tau[2, 2])
  put(key("slope_variance_se"), vse[2])
  put(key("vpc"), 100 * tau[1, 1] / (tau[1, 1] + sigma(two)^2))
  # ranef's postVar takes the fixed effects as known: the conditional standard error.
  re <- ranef(two, condVar = TRUE)$g
  se_u <- sqrt(attr(re, "postVar")[1, 1, ])
  u <- setNames(re[["(Intercept)"]], rownames(re))
  put(paste0("ranks.", m, ".intervals_excluding_zero"), sum(abs(u) > 1.96 * se_u))
  put(paste0("ranks.", m, ".better_than_average"), sum(u < -1.96 * se_u))
  put(paste0("ranks.", m, ".worse_than_average"), sum(u > 1.96 * se_u))
  rank(u)
}
ranks <- sapply(c("phq9", "gad7"), fit_measure)
composite <- rowMeans(ranks)
put("ranks.correlation", cor(ranks[, 1], ranks[, 2], method = "spearman"))
put("ranks.last_five_shared", sum(ranks[, 1] >= 17 & ranks[, 2] >= 17))
put("ranks.first_five_shared", sum(ranks[, 1] <= 5 & ranks[, 2] <= 5))
for (k in c(6, 17)) {
  row <- sprintf("T%02d", k)
  for (m in c("phq9", "gad7")) put(sprintf("ranks.therapist_%d.%s", k, m), ranks[row, m])
  put(sprintf("ranks.therapist_%d.composite", k), composite[row])
}
place <- rank(composite)
upper <- names(place)[place <= 5]
lower <- names(place)[place >= 17]

# --- outcomes and clusters ------------------------------------------------------------------
chi2 <- function(a, b) unname(suppressWarnings(
  chisq.test(rbind(table(factor(a, c(FALSE, TRUE))), table(factor(b, c(FALSE, TRUE)))),
             correct = FALSE)$statistic))
for (m in c("phq9", "gad7")) {
  cut <- c(phq9 = 10, gad7 = 8)[[m]]
  rel <- c(phq9 = 6, gad7 = 4)[[m]]
  pre <- p[[paste0(m, "_pre")]]
  post <- p[[paste0(m, "_post")]]
  change <- pre - post
  case <- pre >= cut
  improved <- change >= rel
  worse <- change <= -rel
  rcsi <- case & improved & post < cut
  key <- function(k) paste0("outcomes.", m, ".", k)
  put(key("change_mean"), mean(change))
  put(key("change_sd"), sd(change))
  put(key("effect_size"), mean(change) / sd(pre))
  put(key("improvement"), 100 * mean(improved))
  put(key("deterioration"), 100 * mean(worse))
  put(key("cases"), sum(case))
  put(key("caseness"), 100 * mean(case))
  put(key("rcsi"), 100 * sum(rcsi) / sum(case))
  rate <- 100 * tapply(case, p$therapist_id, mean)
  put(paste0("therapists.", m, ".caseness_min"), min(rate))
  put(paste0("therapists.", m, ".caseness_max"), max(rate))
  put(paste0("therapists.", m, ".caseness_median"), median(rate))
  recovered <- tapply(rcsi, p$therapist_id, sum) / tapply(case, p$therapist_id, sum)
  put(paste0("ranks.", m, ".rcsi_correlation"),
      cor(composite, -recovered[names(composite)], method = "spearman"))
  inside <- list(upper = p$therapist_id %in% upper, lower = p$therapist_id %in% lower)
  for (k in names(inside)) {
    w <- inside[[k]]
    key <- function(x) paste0("clusters.", m, ".", k, "_", x)
    put(key("effect_size"), mean(change[w]) / sd(pre[w]))
    put(key("improvement"), 100 * mean(improved[w]))
    put(key("deterioration"), 100 * mean(worse[w]))
    put(key("rcsi"), 100 * sum(rcsi[w]) / sum(case[w]))
  }
  a <- inside$upper
  b <- inside$lower
  w <- a | b
  both <- data.frame(post = post[w], pre = pre[w], upper = a[w])
  f <- anova(lm(post ~ pre, both), lm(post ~ pre + upper, both))$F[2]
  put(paste0("clusters.", m, ".ancova_f"), f)
  put(paste0("clusters.", m, ".improvement_chi2"), chi2(improved[a], improved[b]))
  put(paste0("clusters.", m, ".rcsi_chi2"), chi2(rcsi[a & case], rcsi[b & case]))
  put(paste0("clusters.", m, ".caseness_p"),
      pchisq(chi2(case[a], case[b]), 1, lower.tail = FALSE))
}

# --- therapists' measures: every split of ten into five and five -----------------------------
for (s in c("resilience", "supervisor_experientiality", "ego_strength")) {
  x <- th[[s]][th$therapist_id %in% upper]
  y <- th[[s]][th$therapist_id %in% lower]
  r <- rank(c(x, y))
  u <- sum(r[1:5]) - 15
  sums <- combn(10, 5, function(i) sum(r[i]))
  put(paste0("scales.", s, ".p"), mean(abs(sums - 27.5) >= abs(sum(r[1:5]) - 27.5) - 1e-9))
  if (s != "ego_strength") put(paste0("scales.", s, ".u"), min(u, 25 - u))
}

sum_of <- system2("sha256sum", shQuote(file.path(folder, "patients.csv")), stdout = TRUE)
result <- list(
  versions = list(R = R.version.string, lme4 = as.character(packageVersion("lme4"))),
  patients_sha256 = sub(" .*", "", sum_of),
  figures = out
)
writeLines(toJSON(result, auto_unbox = TRUE, digits = NA, pretty = TRUE), "cohort_check.json")
