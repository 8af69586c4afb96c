# Public data sets that R's packages carry: moments of their columns, and polished lme4 fits.
# Run from this folder: Rscript public_data.R    (writes public_data.json)
source("polish.R")
suppressMessages({
  library(jsonlite)
  library(mlmRev)
  library(nlme)
})

data(list = c("sleepstudy", "Dyestuff", "Dyestuff2", "Penicillin", "cake", "Pastes"),
     package = "lme4")
data(list = c("Exam", "Hsb82", "ScotsSec", "Oxboys", "egsingle", "Early", "bdf"),
     package = "mlmRev")
data(list = c("Orthodont", "Oxide", "Machines", "Rail", "BodyWeight", "ergoStool"),
     package = "nlme")

model <- function(fixed, random) list(fixed = fixed, random = random)
spec <- function(name, package, data, response, group, ...) {
  list(name = name, package = package, data = as.data.frame(data), response = response,
       group = group, models = list(...))
}
cake$plot <- interaction(cake$recipe, cake$replicate)
Early$tos <- Early$age - 0.5
specs <- list(
  spec("sleepstudy", "lme4", sleepstudy, "Reaction", "Subject",
       model(~ Days, ~ 1), model(~ Days, ~ Days)),
  spec("Dyestuff", "lme4", Dyestuff, "Yield", "Batch", model(~ 1, ~ 1)),
  spec("Dyestuff2", "lme4", Dyestuff2, "Yield", "Batch", model(~ 1, ~ 1)),
  spec("Penicillin by sample", "lme4", Penicillin, "diameter", "sample", model(~ 1, ~ 1)),
  spec("Penicillin by plate", "lme4", Penicillin, "diameter", "plate", model(~ 1, ~ 1)),
  spec("cake", "lme4", cake, "angle", "plot", model(~ temp, ~ 1), model(~ temp, ~ temp)),
  spec("Pastes by sample", "lme4", Pastes, "strength", "sample", model(~ 1, ~ 1)),
  spec("Pastes by batch", "lme4", Pastes, "strength", "batch", model(~ 1, ~ 1)),
  spec("Exam", "mlmRev", Exam, "normexam", "school",
       model(~ standLRT, ~ 1), model(~ standLRT, ~ standLRT),
       model(~ standLRT + sex, ~ standLRT)),
  spec("Hsb82", "mlmRev", Hsb82, "mAch", "school",
       model(~ cses, ~ 1), model(~ meanses * cses + sector * cses, ~ cses)),
  spec("ScotsSec", "mlmRev", ScotsSec, "attain", "primary",
       model(~ verbal + sex, ~ 1), model(~ verbal + sex, ~ verbal)),
  spec("Oxboys", "mlmRev", Oxboys, "height", "Subject",
       model(~ age, ~ 1), model(~ age, ~ age), model(~ age + I(age^2), ~ age + I(age^2))),
  spec("egsingle", "mlmRev", egsingle, "math", "schoolid",
       model(~ year, ~ 1), model(~ year, ~ year)),
  spec("Early", "mlmRev", Early, "cog", "id", model(~ tos * trt, ~ 1), model(~ tos * trt, ~ tos)),
  spec("bdf", "mlmRev", bdf, "langPOST", "schoolNR",
       model(~ IQ.verb, ~ 1), model(~ IQ.verb, ~ IQ.verb)),
  spec("Orthodont", "nlme", Orthodont, "distance", "Subject",
       model(~ age * Sex, ~ 1), model(~ age, ~ age)),
  spec("Oxide", "nlme", Oxide, "Thickness", "Lot", model(~ 1, ~ 1)),
  spec("Machines", "nlme", Machines, "score", "Worker",
       model(~ Machine, ~ 1), model(~ Machine, ~ Machine)),
  spec("Rail", "nlme", Rail, "travel", "Rail", model(~ 1, ~ 1)),
  spec("BodyWeight", "nlme", BodyWeight, "weight", "Rat",
       model(~ Time * Diet, ~ 1), model(~ Time * Diet, ~ Time)),
  spec("ergoStool", "nlme", ergoStool, "effort", "Subject", model(~ Type, ~ 1))
)

plain <- function(x) sub("^\\(Intercept\\)$", "Intercept", x)

columns_of <- function(s) {
  parts <- lapply(s$models, function(m) {
    cbind(model.matrix(m$fixed, s$data), model.matrix(m$random, s$data))
  })
  w <- do.call(cbind, parts)
  colnames(w) <- plain(colnames(w))
  w <- w[, !duplicated(colnames(w)), drop = FALSE]
  cbind(w, y = s$data[[s$response]])
}

peer <- function(call) tryCatch(suppressWarnings(call), error = function(e) NA_real_)

own_variances <- function(v) {
  q <- dim(v)[1]
  matrix(sapply(seq_len(q), function(i) v[i, i, ]), ncol = q)
}

fit_model <- function(s, m, method) {
  d <- s$data
  d$.g <- factor(as.character(d[[s$group]]), levels = sort(unique(as.character(d[[s$group]]))))
  d$.y <- d[[s$response]]
  text <- paste(".y ~", paste(deparse(m$fixed[[2]]), collapse = ""), "+ (",
                paste(deparse(m$random[[2]]), collapse = ""), "| .g)")
  reml <- method == "REML"
  control <- lmerControl(check.nobs.vs.nRE = "ignore", check.nobs.vs.rankZ = "ignore")
  lf <- lFormula(as.formula(text), d, REML = reml, control = control)
  best <- polish(lf, method)
  fit <- best$fit
  u <- ranef(fit, condVar = TRUE)$.g
  default <- peer({
    f <- suppressMessages(lmer(as.formula(text), d, REML = reml, control = control))
    if (reml) REMLcrit(f) else deviance(f, REML = FALSE)
  })
  by_nlme <- peer({
    f <- lme(as.formula(paste(".y ~", paste(deparse(m$fixed[[2]]), collapse = ""))), d,
             random = as.formula(paste("~", paste(deparse(m$random[[2]]), collapse = ""), "| .g")),
             method = method)
    -2 * as.numeric(logLik(f))
  })
  covariance <- unclass(VarCorr(fit)$.g)
  list(
    method = method, fixed = I(plain(colnames(getME(fit, "X")))),
    random = I(plain(colnames(covariance))),
    deviance = best$value, default = default, nlme = by_nlme,
    aic = best$value + 2 * attr(logLik(fit), "df"), bic = BIC(fit), theta = I(unname(getME(fit, "theta"))),
    beta = I(unname(fixef(fit))), se = I(unname(sqrt(diag(as.matrix(vcov(fit)))))),
    residual_variance = sigma(fit)^2,
    random_covariance = matrix(as.numeric(covariance), nrow(covariance)),
    singular = any(abs(best$theta[is.finite(lf$reTrms$lower)]) < 1e-6) || isSingular(fit, tol = 1e-6),
    groups = rownames(u), residuals = unname(as.matrix(u)),
    residual_variances = own_variances(attr(u, "postVar"))
  )
}

run <- function(s) {
  w <- columns_of(s)
  g <- as.character(s$data[[s$group]])
  labels <- sort(unique(g))
  upper <- upper.tri(diag(ncol(w)), diag = TRUE)
  cross <- t(sapply(labels, function(l) crossprod(w[g == l, , drop = FALSE])[upper]))
  models <- list()
  for (m in s$models) for (method in c("ML", "REML")) {
    models <- c(models, list(fit_model(s, m, method)))
  }
  cat(s$name, sapply(models, `[[`, "deviance"), sapply(models, `[[`, "singular"), "\n")
  list(name = s$name, package = s$package, response = s$response, group = s$group,
       columns = I(colnames(w)), groups = labels, n = as.integer(table(factor(g, levels = labels))),
       upper = unname(cross), models = models)
}

versions <- list(R = R.version.string, lme4 = as.character(packageVersion("lme4")),
                 nlme = as.character(packageVersion("nlme")),
                 mlmRev = as.character(packageVersion("mlmRev")),
                 minqa = as.character(packageVersion("minqa")))
out <- list(script = "public_data.R", versions = versions, sets = lapply(specs, run))
writeLines(toJSON(out, auto_unbox = TRUE, digits = I(17), na = "null", matrix = "rowmajor"),
           "public_data.json")
