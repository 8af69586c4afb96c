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
    keep(file, m, "residual", sigma(fit)^2)
    u <- ranef(fit)$therapist_id
    for (i in seq_len(nrow(u))) keep(file, m, paste0("u_", rownames(u)[i]), u[i, 1])
    if ("age" %in% names(d)) {
      mixed <- lmer(as.formula(paste("y ~", terms, "+ age + gender + (1 + x | therapist_id)")), d,
                    REML = FALSE, control = tight)
      keep(file, m, "vpc_adjusted", share(mixed))
      three <- lmer(as.formula(paste("y ~", terms, "+ (1 | service_id) + (1 | therapist_id)")), d,
                    REML = FALSE, control = tight)
      v <- as.data.frame(VarCorr(three)); v <- setNames(v$vcov, v$grp)
      keep(file, m, "vpc_service", 100 * unname(v["service_id"]) / sum(v))
      keep(file, m, "vpc_within_service", 100 * unname(v["therapist_id"]) / sum(v))
    }
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
