# Satterthwaite's degrees of freedom by lmerTest on 96 small designs.
# Run: python satterthwaite_many.py FOLDER; Rscript satterthwaite_many.R FOLDER
# (writes satterthwaite_many.csv)
suppressMessages(library(lmerTest))
folder <- commandArgs(trailingOnly = TRUE)[1]
every <- read.csv(file.path(folder, "satterthwaite_many_rows.csv"), stringsAsFactors = FALSE)
tight <- lmerControl(optimizer = "bobyqa", calc.derivs = FALSE,
                     optCtrl = list(rhobeg = 0.02, rhoend = 1e-9, maxfun = 50000))
one <- function(rows) suppressWarnings(suppressMessages({
  model <- as.formula(rows$formula[1])
  reml <- rows$method[1] == "REML"
  fit <- lmer(model, rows, REML = reml, control = tight)
  fit <- lmer(model, rows, REML = reml, control = tight, start = lme4::getME(fit, "theta"))
  table <- coef(summary(fit))
  data.frame(seed = rows$seed[1], singular = lme4::isSingular(fit),
             term = gsub("^c(.)$", "c[\\1]", sub("(Intercept)", "Intercept", rownames(table),
                                                fixed = TRUE)),
             estimate = table[, "Estimate"], se = table[, "Std. Error"], df = table[, "df"],
             p = table[, "Pr(>|t|)"],
             deviance = if (reml) lme4::REMLcrit(fit) else deviance(fit))
}))
out <- do.call(rbind, lapply(split(every, every$seed), one))
numbers <- c("estimate", "se", "df", "p", "deviance")
out[numbers] <- lapply(out[numbers], function(v) sprintf("%.10g", v))
file <- file("satterthwaite_many.csv", "w")
writeLines(sprintf("# satterthwaite_many.R: %s, lmerTest %s, lme4 %s", R.version.string,
                   packageVersion("lmerTest"), packageVersion("lme4")), file)
write.csv(out, file, row.names = FALSE, quote = FALSE)
close(file)
