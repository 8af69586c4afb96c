# A polished optimum of lme4's deviance, and what lme4 reports there.
#
# lme4 stops at 3 to 5 digits by default. Here: BOBYQA to 1e-10 from three starts, then Newton by
# central differences on lme4's own deviance function, with elements on the boundary held there.
suppressMessages({
  library(lme4)
  library(minqa)
})

# Gradient and Hessian along the columns of `basis`, by central differences of step h.
central <- function(f, theta, basis, h) {
  k <- ncol(basis)
  g <- numeric(k)
  H <- matrix(0, k, k)
  at <- function(d) f(theta + as.vector(basis %*% d))
  f0 <- f(theta)
  for (i in seq_len(k)) {
    e <- replace(numeric(k), i, h)
    up <- at(e)
    down <- at(-e)
    g[i] <- (up - down) / (2 * h)
    H[i, i] <- (up - 2 * f0 + down) / h^2
    for (j in seq_len(i - 1)) {
      d <- replace(numeric(k), j, h)
      H[i, j] <- H[j, i] <- (at(e + d) - at(e - d) - at(d - e) + at(-e - d)) / (4 * h^2)
    }
  }
  list(g = g, H = H)
}

# Newton in directions rescaled each round to unit curvature, so that an uncentred predictor,
# which makes the elements nearly collinear, costs no digits.
newton <- function(f, theta, free) {
  best <- f(theta)
  basis <- diag(length(theta))[, free, drop = FALSE] * 0.1
  for (round in 1:10) {
    if (!length(free)) break
    d <- central(f, theta, basis, 1e-3)
    shape <- eigen(d$H, symmetric = TRUE)
    if (any(!is.finite(shape$values)) || max(abs(shape$values)) == 0) break
    size <- pmax(abs(shape$values), 1e-8 * max(abs(shape$values)))
    turn <- shape$vectors %*% diag(1 / sqrt(size), length(size))
    step <- turn %*% (t(turn) %*% d$g)
    trial <- theta - as.vector(basis %*% step)
    basis <- basis %*% turn
    value <- f(trial)
    if (!is.finite(value) || value > best + 1e-10) next
    theta <- trial
    best <- min(best, value)
  }
  list(theta = theta, value = f(theta))
}

# lme4 takes any theta, negative diagonals too: the deviance is even in them.
polish <- function(lf, method) {
  devfun <- do.call(mkLmerDevfun, c(lf, list(start = NULL)))
  lower <- lf$reTrms$lower
  theta0 <- lf$reTrms$theta
  diagonal <- is.finite(lower)
  starts <- list(theta0, ifelse(diagonal, 0.2, 0.02), ifelse(diagonal, 0.3, -0.05))
  found <- list()
  for (start in starts) {
    fit <- tryCatch(
      bobyqa(start, devfun, lower = lower,
             control = list(rhobeg = 0.1, rhoend = 1e-10, maxfun = 1e5)),
      error = function(e) NULL)
    if (is.null(fit)) next
    theta <- fit$par
    found <- c(found, list(list(theta = theta, value = devfun(theta))))
    found <- c(found, list(newton(devfun, theta, seq_along(theta))))
    # On the boundary: every choice of the diagonal elements near nil held there.
    near <- which(diagonal & abs(theta) < 0.02)
    for (size in seq_along(near)) for (held in combn(length(near), size, simplify = FALSE)) {
      at <- replace(theta, near[held], 0)
      found <- c(found, list(newton(devfun, at, setdiff(seq_along(theta), near[held]))))
    }
  }
  values <- sapply(found, `[[`, "value")
  best <- found[[which.min(values)]]
  # Prefer the boundary when the difference is in the last digits only.
  on <- sapply(found, function(one) any(one$theta[diagonal] == 0))
  if (any(on) && min(values[on]) <= min(values) + 3e-10) {
    best <- found[on][[which.min(values[on])]]
  }
  theta <- best$theta
  value <- devfun(theta)
  opt <- list(par = theta, fval = value, feval = 0, conv = 0, message = "")
  fit <- mkMerMod(environment(devfun), opt, lf$reTrms, fr = lf$fr)
  list(fit = fit, theta = theta, value = value)
}
