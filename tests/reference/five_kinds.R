# What the tests of the report hold their own computations against, by lme4: of the patients that
# five_kinds_rows.py writes.
# python five_kinds_rows.py FOLDER; Rscript five_kinds.R FOLDER
library(lme4)
folder <- commandArgs(TRUE)[1]
out <- data.frame()
keep <- function(file, measure, what, value)
  out <<- rbind(out, data.frame(file, measure, what, value = signif(unname(value), 10)))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e6, rhoend = 1e-10),
                     check.conv.singular = "ignore", calc.derivs = FALSE)
tightly <- glmerControl(optimizer = "bobyqa", check.conv.singular = "ignore",
                        optCtrl = list(maxfun = 1e6, rhoend = 1e-9))
points <- c(phq9 = 6, gad7 = 4, core10 = 6, ors = -6)
for (file in c("contacts", "counselling", "clinic", "outcomes", "region")) {
  d <- read.csv(file.path(folder, paste0(file, ".csv")))
  measures <- sub("_pre", "", grep("_pre$", names(d), value = TRUE))
  for (m in measures) {
    d$y <- d[[paste0(m, "_post")]]
    d$x <- d[[paste0(m, "_pre")]] - mean(d[[paste0(m, "_pre")]])
    terms <- "x"
    if (length(measures) == 2) {
      other <- d[[paste0(setdiff(measures, m), "_pre")]]
      d$z <- other - mean(other)
      terms <- "x * z"
    }
    model <- function(random, reml = FALSE)
      lmer(as.formula(paste("y ~", terms, "+", random)), d, REML = reml, control = tight)
    fit <- model("(1 + x | t)")
    keep(file, m, "deviance", -2 * as.numeric(logLik(fit)))
    keep(file, m, "between", VarCorr(fit)$t[1, 1])
    keep(file, m, "within", sigma(fit)^2)
    for (i in seq_along(fixef(fit))) keep(file, m, paste0("fixed_", i), fixef(fit)[i])
    for (i in seq_along(fixef(fit))) keep(file, m, paste0("se_", i), coef(summary(fit))[i, 2])
    u <- ranef(fit, condVar = TRUE)$t
    if (nrow(u) < 100) for (i in seq_len(nrow(u))) {
      keep(file, m, paste0("u_", rownames(u)[i]), u[i, 1])
      keep(file, m, paste0("se_u_", rownames(u)[i]), sqrt(attr(u, "postVar")[1, 1, i]))
    }
    again <- model("(1 + x | t)", TRUE)
    keep(file, m, "reml_between", VarCorr(again)$t[1, 1])
    keep(file, m, "reml_within", sigma(again)^2)
    if ("service" %in% names(d)) {
      v <- as.data.frame(VarCorr(model("(1 | service) + (1 | t)")))
      v <- setNames(v$vcov, v$grp)
      keep(file, m, "services", 100 * v["service"] / sum(v))
      keep(file, m, "within_services", 100 * v["t"] / sum(v))
    }
    gain <- d[[paste0(m, "_pre")]] - d$y
    d$yes <- as.integer(if (points[m] > 0) gain >= points[m] else round(gain, 6) <= points[m])
    logit <- glmer(yes ~ x + (1 | t), d, family = binomial, nAGQ = 25, control = tightly)
    keep(file, m, "logit_variance", VarCorr(logit)$t[1, 1])
    for (i in 1:2) keep(file, m, paste0("logit_fixed_", i), fixef(logit)[i])
  }
}
write.csv(out, "five_kinds.csv", row.names = FALSE)
