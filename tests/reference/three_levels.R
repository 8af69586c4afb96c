# What lme4 makes of data of three levels: called by three_levels.py with a folder of CSVs and the
# folder for the results. The best of three optimisers is kept.
suppressMessages({library(lme4); library(mlmRev)})
folders <- commandArgs(trailingOnly = TRUE)
best <- function(formula, data, reml) {
  fits <- lapply(c("bobyqa", "Nelder_Mead", "nloptwrap"), function(o) {
    many <- if (o == "nloptwrap") list(xtol_abs = 1e-12, ftol_abs = 1e-12) else list(maxfun = 1e5)
    control <- lmerControl(optimizer = o, optCtrl = many, calc.derivs = FALSE)
    suppressWarnings(suppressMessages(lmer(formula, data, REML = reml, control = control)))
  })
  criterion <- function(f) if (reml) as.numeric(REMLcrit(f)) else -2 * as.numeric(logLik(f))
  at <- which.min(sapply(fits, criterion))
  list(fit = fits[[at]], deviance = criterion(fits[[at]]))
}
out <- NULL
add <- function(name, formula, text, data, unit, group) for (reml in c(FALSE, TRUE)) {
  found <- best(formula, data, reml)
  fit <- found$fit
  v <- as.data.frame(VarCorr(fit))
  at <- function(g) v$vcov[v$grp == g & is.na(v$var2)][1]
  groups <- names(VarCorr(fit))
  inner <- setdiff(groups, unit)
  b <- ranef(fit, condVar = TRUE)
  out <<- rbind(out, data.frame(
    data = name, formula = text, method = if (reml) "REML" else "ML", deviance = found$deviance,
    unit_variance = at(unit), group_variance = at(inner), residual = sigma(fit)^2,
    intercept = fixef(fit)[1], intercept_se = sqrt(vcov(fit)[1, 1]),
    first_unit = b[[unit]][1, 1], first_unit_se = sqrt(attr(b[[unit]], "postVar")[1, 1, 1]),
    first_group = b[[inner]][1, 1]
  ))
}
for (file in sort(list.files(folders[1], "^simulated"))) {
  d <- read.csv(file.path(folders[1], file))
  name <- sub(".csv", "", file)
  add(name, y ~ x + (1 | unit) + (1 | g), "y ~ x + (1 | unit/g)", d, "unit", "g")
  add(name, y ~ x + (1 | unit) + (1 + x | g), "y ~ x + (1 | unit) + (1 + x | g)", d, "unit", "g")
}
for (file in sort(list.files(folders[1], "^uneven"))) {
  d <- read.csv(file.path(folders[1], file))
  name <- sub(".csv", "", file)
  add(name, y ~ x + (1 | unit) + (1 | g), "y ~ x + (1 | unit/g)", d, "unit", "g")
  add(name, y ~ x + (1 | unit) + (1 + x | g), "y ~ x + (1 | unit) + (1 + x | g)", d, "unit", "g")
  add(name, y ~ x + (1 | unit) + (0 + x | g), "y ~ x + (1 | unit) + (0 + x | g)", d, "unit", "g")
}
data(Chem97); data(egsingle)
write.csv(Chem97[c("score", "gcsecnt", "lea", "school")], file.path(folders[1], "chem97.csv"), row.names = FALSE)
write.csv(egsingle[c("math", "year", "schoolid", "childid")], file.path(folders[1], "egsingle.csv"), row.names = FALSE)
add("chem97", score ~ 1 + (1 | lea) + (1 | school), "score ~ 1 + (1 | lea) + (1 | school)", Chem97, "lea", "school")
add("chem97", score ~ gcsecnt + (1 | lea) + (1 | school), "score ~ gcsecnt + (1 | lea) + (1 | school)", Chem97, "lea", "school")
add("egsingle", math ~ year + (1 | schoolid) + (1 | childid), "math ~ year + (1 | schoolid) + (1 | childid)", egsingle, "schoolid", "childid")
options(digits = 15)
write.csv(out, file.path(folders[2], "three_levels.csv"), row.names = FALSE)
cat(R.version.string, "lme4", as.character(packageVersion("lme4")), "mlmRev", as.character(packageVersion("mlmRev")), "\n")
