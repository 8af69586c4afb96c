# The share of variance of six services, held in lme4's deviance: where it has risen by chi-square's
# 95%. Run in this folder: Rscript six_services.R
suppressMessages(library(lme4))
d <- read.csv("../../src/pwp_lib/packaged/patients.csv")
d$x <- d$phq9_pre - mean(d$phq9_pre)
d$z <- d$gad7_pre - mean(d$gad7_pre)
out <- NULL
for (reml in c(FALSE, TRUE)) {
  deviance <- lmer(phq9_post ~ x * z + (1 | service_id/therapist_id), d, REML = reml, devFunOnly = TRUE)
  # The therapists' relative standard deviation comes first, the services' second.
  held <- function(share) optimize(function(t) {
    deviance(c(t, sqrt(share / (1 - share) * (t^2 + 1))))
  }, c(0, 2), tol = 1e-10)$objective
  best <- min(sapply(c(0, 1e-4, 1e-3, 1e-2, 2e-2), held))
  upper <- uniroot(function(s) held(s) - best - qchisq(0.95, 1), c(0.01, 0.3), tol = 1e-10)$root
  out <- rbind(out, data.frame(method = if (reml) "REML" else "ML", deviance = best,
                               at_zero = held(0) - best, upper = upper))
}
options(digits = 12)
print(out)
write.csv(out, "six_services.csv", row.names = FALSE)
