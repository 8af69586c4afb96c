# Reference figures for tests/findings/test_nested.py: lme4, on comparison_data.csv.
# Run in this folder after comparison.R: Rscript nested.R. Writes nested.csv (name, value).

suppressMessages(library(lme4))
options(digits = 17)
d <- read.csv("comparison_data.csv")
d$first <- as.numeric(d$cluster == "upper")
tight <- lmerControl(optimizer = "bobyqa",
                     optCtrl = list(rhobeg = 1e-3, rhoend = 1e-12, maxfun = 1e5))
fit <- lmer(phq9_post ~ I(phq9_pre - mean(phq9_pre)) + first + (1 | therapist_id), d,
            REML = TRUE, control = tight)
s <- coef(summary(fit))["first", ]
out <- c(ancova_estimate = s[[1]], ancova_se = s[[2]],
         ancova_variance = VarCorr(fit)$therapist_id[1, 1],
         ancova_p = 2 * pt(-abs(s[[1]] / s[[2]]), 8))

# A therapist-level predictor, standardised over therapists; random intercept, own pre score.
score <- c(70, 75, 81, 68, 90, 62, 66, 71, 59, 73)
names(score) <- sprintf("T%02d", 1:10)
d$predictor <- ((score - mean(score)) / sd(score))[d$therapist_id]
fit <- lmer(phq9_post ~ I(phq9_pre - mean(phq9_pre)) + predictor + (1 | therapist_id), d,
            REML = TRUE, control = tight)
s <- coef(summary(fit))["predictor", ]
without <- lmer(phq9_post ~ I(phq9_pre - mean(phq9_pre)) + (1 | therapist_id), d,
                REML = TRUE, control = tight)
out <- c(out, predictor_estimate = s[[1]], predictor_se = s[[2]],
         predictor_variance = VarCorr(fit)$therapist_id[1, 1],
         without_variance = VarCorr(without)$therapist_id[1, 1])

con <- file("nested.csv", "w")
writeLines(c(paste("#", R.version.string), paste("# lme4", packageVersion("lme4")),
             "name,value"), con)
writeLines(paste(names(out), format(out, digits = 17, trim = TRUE), sep = ","), con)
close(con)
