# What the report releases of the files of own_files.py, by lme4.
# python own_files.py FOLDER; Rscript own_files.R FOLDER
library(lme4)
folder <- commandArgs(TRUE)[1]
out <- data.frame()
keep <- function(file, measure, what, value)
  out <<- rbind(out, data.frame(file, measure, what, value = signif(value, 10)))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhoend = 1e-9),
                     check.conv.singular = "ignore", calc.derivs = FALSE)
share <- function(fit) {
  v <- as.data.frame(VarCorr(fit))
  b <- v$vcov[v$grp == "therapist_id" & v$var1 == "(Intercept)" & is.na(v$var2)]
  100 * b[1] / (b[1] + sigma(fit)^2)
}
# Ends of the 95% interval of the therapist effect: the profile of lme4's deviance over the first
# element of the relative covariance factor, which is that of the effect.
profiled <- function(fit) {
  dev <- as.function(update(fit, devFunOnly = TRUE))
  starts <- list(c(0, 0), c(0, 0.1), c(0.1, 0.1), c(-0.1, 0.1), getME(fit, "theta")[2:3])
  at <- function(t1) min(sapply(starts, function(s)
    nlminb(s, function(p) dev(c(t1, p)), lower = c(-Inf, 0), control = list(rel.tol = 1e-13))$objective))
  best <- getME(fit, "theta")[1]
  cut <- at(best) + qchisq(.95, 1)
  root <- function(lower, upper) uniroot(function(t) at(t) - cut, c(lower, upper), tol = 1e-9)$root
  ends <- c(if (at(0) <= cut) 0 else root(0, best), root(best, best + 3))
  100 * ends^2 / (1 + ends^2)
}
# Standard errors of the variances by expected information, at the estimates.
variance_se <- function(fit, d) {
  G <- as.matrix(VarCorr(fit)$therapist_id); s2 <- sigma(fit)^2
  info <- matrix(0, 4, 4)
  for (g in split(d$x, d$therapist_id)) {
    Z <- cbind(1, g)
    V <- solve(Z %*% G %*% t(Z) + s2 * diag(length(g)))
    parts <- list(tcrossprod(Z[, 1]), Z[, 1] %*% t(Z[, 2]) + Z[, 2] %*% t(Z[, 1]),
                  tcrossprod(Z[, 2]), diag(length(g)))
    W <- lapply(parts, function(p) V %*% p)
    for (a in 1:4) for (b in 1:4) info[a, b] <- info[a, b] + sum(W[[a]] * t(W[[b]])) / 2
  }
  sqrt(diag(solve(info)))
}
# The effect with missing last scores filled: see what the report says of each line.
filled <- function(all, m, terms, control) {
  top <- if (m == "phq9") 27 else 21
  all$y <- all[[paste0(m, "_post")]]
  first <- all[[paste0(m, "_pre")]]
  gap <- is.na(all$y)
  fit <- function(d) {
    d$x <- d$first - mean(d$first)
    d$z <- d$other - mean(d$other)
    lmer(as.formula(paste("y ~", terms, "+ (1 + x | therapist_id)")), d, REML = FALSE, control = control)
  }
  all$first <- first
  all$other <- all[[paste0(setdiff(c("phq9", "gad7"), m), "_pre")]]
  seen <- all[!gap, ]
  gain <- (first - all$y)[!gap]
  with <- function(change) {
    d <- all
    d$y[gap] <- pmin(pmax(first - change, 0), top)[gap]
    d
  }
  ends <- quantile(gain, c(.1, .9))
  line <- predict(fit(with(mean(gain))), re.form = NA)
  means <- sapply(ends, function(e) tapply(with(e)$y - line, all$therapist_id, mean))
  n <- table(all$therapist_id)
  to <- sapply(c(extremes(means[, 1], means[, 2], n / n), extremes(means[, 1], means[, 2], n)), function(s)
    list(ends[1] + diff(ends) * s[as.character(all$therapist_id)]))
  found <- sapply(c(list(0, mean(gain), ends[1], ends[2]), to), function(change) share(fit(with(change))))
  c(share(fit(seen)), found[1:2], min(found), max(found))
}
# Where between their ends therapists' means are most alike, and where least: the latter by trying
# all ways of giving each an end.
extremes <- function(poor, good, w) {
  low <- pmin(poor, good); high <- pmax(poor, good); w <- as.numeric(w)
  apart <- function(x) sum(w * (x - sum(w * x) / sum(w))^2)
  to <- optimize(function(t) apart(pmin(pmax(t, low), high)), c(min(low), max(high)), tol = 1e-12)$minimum
  # Where any value between is as good, the nearest to the line.
  if (max(low) < min(high)) to <- sort(c(max(low), 0, min(high)))[2]
  near <- pmin(pmax(to, low), high)
  n <- length(low); best <- low
  for (k in 0:(2^n - 1)) {
    x <- ifelse(bitwAnd(k, 2^(0:(n - 1))) > 0, high, low)
    if (apart(x) > apart(best)) best <- x
  }
  lapply(list(near, best), function(x)
    setNames(ifelse(good == poor, 0, (x - poor) / (good - poor)), names(poor)))
}
for (file in c("two_measures", "one_measure", "missing", "services", "uneven")) {
  all <- read.csv(file.path(folder, paste0(file, ".csv")))
  measures <- intersect(c("phq9", "gad7"), sub("_pre", "", grep("_pre", names(all), value = TRUE)))
  d <- all[complete.cases(all), ]
  for (m in measures) {
    d$y <- d[[paste0(m, "_post")]]
    d$x <- d[[paste0(m, "_pre")]] - mean(d[[paste0(m, "_pre")]])
    terms <- "x"
    if (length(measures) == 2) {
      other <- paste0(setdiff(measures, m), "_pre")
      d$z <- d[[other]] - mean(d[[other]])
      terms <- "x * z"
    }
    fit <- lmer(as.formula(paste("y ~", terms, "+ (1 + x | therapist_id)")), d, REML = FALSE,
                control = tight)
    plain <- lmer(as.formula(paste("y ~", terms, "+ (1 | therapist_id)")), d, REML = FALSE,
                  control = tight)
    empty <- lmer(y ~ 1 + (1 | therapist_id), d, REML = FALSE, control = tight)
    keep(file, m, "deviance_single", -2 * as.numeric(logLik(lm(as.formula(paste("y ~", terms)), d))))
    keep(file, m, "deviance_intercept", -2 * as.numeric(logLik(plain)))
    keep(file, m, "deviance_slope", -2 * as.numeric(logLik(fit)))
    keep(file, m, "vpc", share(fit))
    keep(file, m, "vpc_empty", share(empty))
    for (i in seq_along(fixef(fit))) keep(file, m, paste0("fixed_", i), unname(fixef(fit)[i]))
    for (i in seq_along(fixef(fit))) keep(file, m, paste0("se_", i), unname(coef(summary(fit))[i, 2]))
    keep(file, m, "residual", sigma(fit)^2)
    if (!isSingular(fit, 1e-5)) {
      se <- variance_se(fit, d)
      for (i in 1:4) keep(file, m, paste0("variance_se_", i), se[i])
    }
    ends <- profiled(fit)
    keep(file, m, "vpc_lower", ends[1])
    keep(file, m, "vpc_upper", ends[2])
    if (file == "missing") {
      found <- filled(all, m, terms, tight)
      for (i in seq_along(found)) keep(file, m, paste0("missing_", i), found[i])
    }
    staff <- read.csv(file.path(folder, paste0(file, "_therapists.csv")))
    for (p in c("age", "resilience")) {
      d$p <- setNames(as.numeric(scale(staff[[p]])), staff$therapist_id)[d$therapist_id]
      own <- lmer(as.formula(paste("y ~", terms, "+ p + (1 | therapist_id)")), d, control = tight)
      row <- coef(summary(own))["p", ]
      keep(file, m, paste0(p, "_estimate"), row[["Estimate"]])
      keep(file, m, paste0(p, "_se"), row[["Std. Error"]])
      keep(file, m, paste0(p, "_p"), 2 * pt(-abs(row[["t value"]]), nrow(staff) - 2))
    }
    last <- fit
    if ("age" %in% names(d)) {
      last <- lmer(as.formula(paste("y ~", terms, "+ age + gender + (1 + x | therapist_id)")), d,
                   REML = FALSE, control = tight)
      keep(file, m, "vpc_adjusted", share(last))
      three <- lmer(as.formula(paste("y ~", terms, "+ (1 | service_id) + (1 | therapist_id)")), d,
                    REML = FALSE, control = tight)
      v <- as.data.frame(VarCorr(three)); v <- setNames(v$vcov, v$grp)
      keep(file, m, "vpc_service", 100 * unname(v["service_id"]) / sum(v))
      keep(file, m, "vpc_within_service", 100 * unname(v["therapist_id"]) / sum(v))
    }
    # Therapists' residuals are those with the case mix, where there is one.
    u <- ranef(last, condVar = TRUE)$therapist_id
    v <- attr(u, "postVar")
    for (i in seq_len(nrow(u))) keep(file, m, paste0("u_", rownames(u)[i]), u[i, 1])
    for (i in seq_len(nrow(u))) keep(file, m, paste0("u_se_", rownames(u)[i]), sqrt(v[1, 1, i]))
    points <- if (m == "phq9") 6 else 4
    d$yes <- as.integer(d[[paste0(m, "_pre")]] - d$y >= points)
    logit <- glmer(yes ~ x + (1 | therapist_id), d, family = binomial, nAGQ = 15,
                   control = glmerControl(optimizer = "bobyqa", check.conv.singular = "ignore",
                                          optCtrl = list(maxfun = 1e6, rhoend = 1e-9)))
    v <- as.numeric(VarCorr(logit)$therapist_id)
    keep(file, m, "improved_mor", exp(sqrt(2 * v) * qnorm(.75)))
    keep(file, m, "improved_latent", 100 * v / (v + pi^2 / 3))
  }
}
write.csv(out, "own_files.csv", row.names = FALSE)
