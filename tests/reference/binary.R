# Reference fits of random-intercept logistic models: glmer with 1, 9 and 25 nodes, polished.
# Run in this folder: Rscript binary.R
# Writes binary_data.csv (a line for each row of counts; predictors are columns of the model
# matrix) and binary.csv (set, nodes, groups, deviance with the binomial constants, variance,
# coefficients a to f as the columns of the data follow each other).

suppressMessages({
  library(lme4)
  library(mlmRev)
  library(MASS)
})
options(digits = 17)
set.seed(1201)

data(cbpp, VerbAgg, package = "lme4")
data(Contraception, guImmun, s3bbx, s3bby, package = "mlmRev")

# Rows of counts: successes y of m trials, group g, model matrix without the constant.
set <- function(y, g, x = NULL, m = rep(1, length(y))) {
  x <- if (is.null(x)) matrix(0, length(y), 0) else as.matrix(x)
  colnames(x) <- letters[seq_len(ncol(x))]
  data.frame(g = as.integer(factor(g)), y = as.numeric(y), m = as.numeric(m), x)
}
wide <- function(formula, data) model.matrix(formula, data)[, -1, drop = FALSE]

simulate_set <- function(sizes, variance, intercept, slope) {
  g <- rep(seq_along(sizes), sizes)
  a <- round(rnorm(length(g)), 2)
  eta <- intercept + slope * a + rnorm(length(sizes), sd = sqrt(variance))[g]
  set(rbinom(length(g), 1, plogis(eta)), g, cbind(a))
}

verb <- aggregate(list(y = VerbAgg$r2 == "Y", m = 1),
                  VerbAgg[c("id", "btype", "situ", "Gender")], sum)
cohort <- read.csv("../../src/pwp_lib/packaged/patients.csv")
cases <- subset(cohort, phq9_pre >= 10)
rcsi <- cases$phq9_post < 10 & cases$phq9_pre - cases$phq9_post >= 6
sets <- list(
  cbpp = with(cbpp, set(incidence, herd, wide(~ period, cbpp), size)),
  cbpp_null = with(cbpp, set(incidence, herd, NULL, size)),
  contraception = with(Contraception, set(use == "Y", district,
    wide(~ age + I(age^2) + urban + livch, Contraception))),
  contraception_null = with(Contraception, set(use == "Y", district)),
  bacteria = with(bacteria, set(y == "y", ID, wide(~ trt + I(week > 2), bacteria))),
  verbal = with(verb, set(y, id, wide(~ Gender + btype + situ, verb), m)),
  immunised = with(guImmun, set(immun == "Y", comm, wide(~ kid2p + mom25p + rural + pcInd81,
                                                         guImmun))),
  rcsi = set(rcsi, cases$therapist_id),
  rcsi_adjusted = set(rcsi, cases$therapist_id, cases[c("phq9_pre", "gad7_pre")]),
  tiny = simulate_set(rep(3, 200), 2, -0.5, 0.6),
  few = simulate_set(c(8, 90, 15, 40, 12), 0.5, 0.3, -0.4),
  singular = set(rep(rep(0:1, c(15, 10)), 12), rep(1:12, each = 25),
                 cbind(round(rnorm(300), 2)))
)
# Tiny caseloads, where one node is visibly biased: thirty cohorts of 80 groups of four, the
# variance 1.5.
for (i in 1:30) {
  eta <- -0.5 + rnorm(80, sd = sqrt(1.5))
  sets[[sprintf("biased%02d", i)]] <- set(rbinom(80, 4, plogis(eta)), 1:80, NULL, rep(4, 80))
}

# glmer's own optimum is good to four digits; polish it from where it stops. With more than one
# node its deviance is relative to the saturated model (100.01 for cbpp), with one it is not.
tight <- function(f) f(optimizer = "bobyqa", tolPwrss = 1e-13, calc.derivs = FALSE,
                       optCtrl = list(rhobeg = 1e-3, rhoend = 1e-10, maxfun = 1e5))
fit <- function(name, d, nodes) {
  terms <- setdiff(names(d), c("g", "y", "m"))
  right <- paste(c("1", terms, "(1 | g)"), collapse = " + ")
  f <- as.formula(paste("cbind(y, m - y) ~", right))
  saturated <- -2 * sum(dbinom(d$y, d$m, d$y / d$m, log = TRUE))
  rough <- suppressMessages(suppressWarnings(
    glmer(f, d, family = binomial, nAGQ = nodes,
          control = glmerControl(optimizer = "bobyqa", tolPwrss = 1e-13, calc.derivs = FALSE))))
  fine <- suppressMessages(suppressWarnings(update(rough, start = getME(rough, c("theta", "fixef")),
                                                   control = tight(glmerControl))))
  best <- if (logLik(fine) >= logLik(rough)) fine else rough
  deviance <- -2 * as.numeric(logLik(best)) + if (nodes > 1) saturated else 0
  beta <- c(fixef(best), rep(NA, 7 - length(fixef(best))))
  c(set = name, nodes = nodes, groups = max(d$g), deviance = format(deviance, digits = 17),
    variance = format(VarCorr(best)$g[1], digits = 17),
    setNames(format(beta, digits = 17, trim = TRUE), c("Intercept", letters[1:6])))
}
out <- list()
for (name in names(sets)) for (nodes in c(1, 9, 25)) {
  out[[length(out) + 1]] <- fit(name, sets[[name]], nodes)
}
versions <- c(paste("#", R.version.string), paste("# lme4", packageVersion("lme4")),
              paste("# mlmRev", packageVersion("mlmRev")), paste("# MASS", packageVersion("MASS")))
con <- file("binary.csv", "w")
writeLines(versions, con)
write.csv(do.call(rbind, out), con, row.names = FALSE, quote = FALSE, na = "")
close(con)

padded <- lapply(names(sets), function(name) {
  d <- sets[[name]]
  d[setdiff(letters[1:6], names(d))] <- NA
  cbind(set = name, d[c("g", "y", "m", letters[1:6])])
})
all <- do.call(rbind, padded)
write.csv(all, "binary_data.csv", row.names = FALSE, quote = FALSE, na = "")
