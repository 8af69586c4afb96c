# A residual SD that is exponential in a predictor far from zero, by nlme, the better of two
# optimisers: Rscript spread_far.R in this folder writes spread_far.csv and spread_far_data.csv.
suppressMessages(library(nlme))
data <- rbind(
  data.frame(data = "Loblolly", y = Loblolly$height, x = Loblolly$age, g = as.character(Loblolly$Seed)),
  data.frame(data = "CO2", y = CO2$uptake, x = CO2$conc, g = as.character(CO2$Plant))
)
out <- NULL
for (name in unique(data$data)) for (method in c("ML", "REML")) for (slope in c(FALSE, TRUE)) {
  rows <- data[data$data == name, ]
  fits <- lapply(c("nlminb", "optim"), function(opt) {
    control <- lmeControl(opt = opt, maxIter = 500, msMaxIter = 500, tolerance = 1e-9, msTol = 1e-10,
                          niterEM = 60, returnObject = TRUE)
    random <- if (slope) ~ x | g else ~ 1 | g
    tryCatch(suppressWarnings(lme(y ~ x, rows, random, weights = varExp(form = ~ x), method = method,
                                  control = control)), error = function(e) NULL)
  })
  fits <- Filter(Negate(is.null), fits)
  fit <- fits[[which.max(sapply(fits, logLik))]]
  out <- rbind(out, data.frame(
    data = name, method = method, slope = slope, deviance = -2 * as.numeric(logLik(fit)),
    delta = as.numeric(coef(fit$modelStruct$varStruct)), residual = sigma(fit)^2
  ))
}
options(digits = 15)
write.csv(data, "spread_far_data.csv", row.names = FALSE)
write.csv(out, "spread_far.csv", row.names = FALSE)
cat(R.version.string, "nlme", as.character(packageVersion("nlme")), "\n")
