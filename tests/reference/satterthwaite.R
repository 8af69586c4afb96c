# Satterthwaite's degrees of freedom of the fixed terms, by lmerTest, REML and ML.
# Run: python references_data.py FOLDER; Rscript satterthwaite.R FOLDER   (writes satterthwaite.csv)
# The names of the models are those of tests/multilevel/test_satterthwaite.py.
suppressMessages(library(lmerTest))
folder <- commandArgs(trailingOnly = TRUE)[1]
packaged <- "../../src/pwp_lib/packaged"
patients <- merge(read.csv(file.path(packaged, "patients.csv"))[c("therapist_id", "phq9_pre",
                  "phq9_post", "gad7_pre", "gad7_post")],
                  read.csv(file.path(packaged, "therapists.csv"))[c("therapist_id", "resilience")])
patients <- within(patients, {
  g <- therapist_id
  x <- phq9_pre - mean(phq9_pre)
  w <- gad7_pre - mean(gad7_pre)
  r <- (resilience - 70) / 10
})
sets <- list(cohort = patients,
             sleep = transform(lme4::sleepstudy, g = Subject, x = Days, y = Reaction))
for (name in c("few", "small", "wide"))
  sets[[name]] <- read.csv(file.path(folder, paste0("groups_", name, ".csv")))

models <- list(
  list("cohort intercept", "cohort", phq9_post ~ x * w + (1 | g)),
  list("cohort slope", "cohort", phq9_post ~ x * w + (1 + x | g)),
  list("cohort resilience", "cohort", phq9_post ~ x * w + r + (1 | g)),
  list("cohort resilience slope", "cohort", phq9_post ~ x * w + r + (1 + x | g)),
  list("cohort gad7", "cohort", gad7_post ~ x * w + r + (1 | g)),
  list("sleep intercept", "sleep", y ~ x + (1 | g)),
  list("sleep slope", "sleep", y ~ x + (1 + x | g)),
  list("few intercept", "few", y ~ x + w + (1 | g)),
  list("few slope", "few", y ~ x + w + (1 + x | g)),
  list("small slope", "small", y ~ x + w + (1 + x | g)),
  list("wide intercept", "wide", y ~ x * w + (1 | g)),
  list("wide slope", "wide", y ~ x * w + (1 + x | g)))
tight <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE,
                     optCtrl = list(rhobeg = 0.02, rhoend = 1e-9, maxfun = 50000))
one <- function(m) do.call(rbind, lapply(c("REML", "ML"), function(method) {
  fit <- lmer(m[[3]], sets[[m[[2]]]], REML = method == "REML", control = tight)
  fit <- lmer(m[[3]], sets[[m[[2]]]], REML = method == "REML", control = tight,
              start = lme4::getME(fit, "theta"))
  table <- coef(summary(fit))
  data.frame(model = m[[1]], method = method, formula = deparse(m[[3]]), data = m[[2]],
             singular = lme4::isSingular(fit),
             term = sub("(Intercept)", "Intercept", rownames(table), fixed = TRUE),
             estimate = table[, "Estimate"], se = table[, "Std. Error"], df = table[, "df"],
             t = table[, "t value"], p = table[, "Pr(>|t|)"])
}))
out <- do.call(rbind, lapply(models, one))
numbers <- c("estimate", "se", "df", "t", "p")
out[numbers] <- lapply(out[numbers], function(v) sprintf("%.10g", v))
file <- file("satterthwaite.csv", "w")
writeLines(sprintf("# satterthwaite.R: %s, lmerTest %s, lme4 %s, numDeriv %s", R.version.string,
                   packageVersion("lmerTest"), packageVersion("lme4"), packageVersion("numDeriv")),
           file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
