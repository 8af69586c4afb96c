# Services and yes-or-no outcomes without and with the case mix, by lme4; degrees of freedom of a
# covariate of services by nlme. Of the rows of case_mix.py.
# python case_mix.py FOLDER; Rscript case_mix.R FOLDER
library(lme4)
all <- read.csv(file.path(commandArgs(TRUE)[1], "case_mix.csv"))
out <- data.frame()
keep <- function(missing, what, value)
  out <<- rbind(out, data.frame(missing, what, value = signif(unname(value), 10)))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhoend = 1e-10))
tightly <- glmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhoend = 1e-9))
# Categories of fewer than 20 patients, or of fewer than 5 with or without the outcome, joined
# with each other, or in no category where they are few together.
joined <- function(g, yes = NULL) {
  few <- function(g) {
    n <- table(g)
    bad <- n < 20
    if (!is.null(yes)) bad <- bad | tapply(yes, g, sum) < 5 | tapply(1 - yes, g, sum) < 5
    names(n)[bad]
  }
  g <- as.character(g)
  rare <- few(g)
  again <- ifelse(g %in% rare, "(others)", g)
  if ("(others)" %in% few(again))
    again <- ifelse(g %in% rare, NA, g)
  relevel(factor(again), names(which.max(table(again))))
}
# A column for each category but the most frequent; who is in none has its mean.
with_columns <- function(d, g) {
  for (k in levels(g)[-1]) {
    mine <- as.numeric(g == k)
    d[[paste0("g", k)]] <- ifelse(is.na(mine), mean(mine, na.rm = TRUE), mine)
  }
  d
}
columns <- function(g) paste(c("", paste0("g", levels(g)[-1])[nlevels(g) > 1]), collapse = " + ")
for (missing in c("category", "drop")) {
  # "x" is how their file says that a gender is missing: a category of its own, or dropped.
  d <- if (missing == "drop") all[!is.na(all$income) & all$gender != "x", ] else all
  d$unknown <- as.numeric(is.na(d$income))
  d$money <- ifelse(is.na(d$income), mean(d$income, na.rm = TRUE), d$income) / 1000
  d$x <- d$phq9_pre - mean(d$phq9_pre)
  g <- joined(d$gender)
  d <- with_columns(d, g)
  mix <- paste("area", columns(g), "+ money", if (missing == "drop") "" else "+ unknown")
  for (terms in c("x", paste("x +", mix))) {
    after <- if (terms == "x") "before" else "after"
    f <- as.formula(paste("phq9_post ~", terms, "+ (1 | service_id) + (1 | therapist_id)"))
    fit <- lmer(f, d, REML = FALSE, control = tight)
    v <- as.data.frame(VarCorr(fit))
    v <- setNames(v$vcov, v$grp)
    keep(missing, paste0("service_", after), 100 * v["service_id"] / sum(v))
    keep(missing, paste0("therapist_", after), 100 * v["therapist_id"] / sum(v))
    if (after == "after") {
      for (k in setdiff(names(fixef(fit)), c("(Intercept)", "x"))) {
        keep(missing, paste0("estimate_", k), fixef(fit)[k])
        keep(missing, paste0("se_", k), sqrt(vcov(fit)[k, k]))
      }
      lines <- nlme::lme(as.formula(paste("phq9_post ~", terms)), d,
                         random = ~ 1 | service_id / therapist_id, method = "ML")
      keep(missing, "df_area", summary(lines)$tTable["area", "DF"])
    }
  }
  gain <- d$phq9_pre - d$phq9_post
  case <- d$phq9_pre >= 10
  outcomes <- list(improvement = gain >= 6, rcsi = ifelse(case, d$phq9_post < 10 & gain >= 6, NA),
                   deterioration = gain <= -6)
  for (rate in names(outcomes)) {
    e <- d[!is.na(outcomes[[rate]]), ]
    e$yes <- as.numeric(outcomes[[rate]][!is.na(outcomes[[rate]])])
    g <- joined(e$gender, e$yes)
    e <- with_columns(e, g)
    # Those without an income are a category like others.
    e$money <- ifelse(e$unknown == 1, mean(e$money[e$unknown == 0]), e$money)
    flag <- missing == "category" && nlevels(joined(e$unknown, e$yes)) > 1
    own <- paste("x + area", columns(g), "+ money", if (flag) "+ unknown")
    for (terms in c("x", own)) {
      fit <- glmer(as.formula(paste("yes ~", terms, "+ (1 | therapist_id)")), e, family = binomial,
                   nAGQ = 15, control = tightly)
      sd <- as.numeric(sqrt(VarCorr(fit)$therapist_id))
      after <- paste0(rate, if (terms == "x") "_before_" else "_after_")
      keep(missing, paste0(after, "latent"), 100 * sd^2 / (sd^2 + pi^2 / 3))
      keep(missing, paste0(after, "mor"), exp(sqrt(2) * sd * qnorm(.75)))
      eta <- predict(fit, re.form = NA)
      keep(missing, paste0(after, "low"), 100 * mean(plogis(eta + qnorm(.05) * sd)))
      keep(missing, paste0(after, "high"), 100 * mean(plogis(eta + qnorm(.95) * sd)))
      if (missing == "category" && rate == "improvement") {
        ends <- confint(fit, "theta_", quiet = TRUE)
        keep(missing, paste0(after, "mor_lower"), exp(sqrt(2) * ends[1] * qnorm(.75)))
        keep(missing, paste0(after, "mor_upper"), exp(sqrt(2) * ends[2] * qnorm(.75)))
      }
    }
  }
}
write.csv(out, "case_mix.csv", row.names = FALSE)
