# Posterior of the groups' effects and of their ranks from JAGS, for test_residuals_of_draws.py.
# Run from the repository's root: Rscript tests/reference/residuals_jags.R
# Writes residuals_jags.csv: by group the mean effect, its 2.5% and 97.5% points and the mean rank (1 the
# lowest), each with its Monte Carlo error (batch means). Random intercept, inverse-gamma(0.001, 0.001).
suppressMessages(library(rjags))
d <- read.csv("tests/reference/gibbs_data.csv")
d$x <- d$x - mean(d$x)
model <- "model { for (i in 1:N) { y[i] ~ dnorm(b[1] + b[2] * x[i] + u[g[i]], tau) }
  b[1] ~ dnorm(0, 1.0E-10); b[2] ~ dnorm(0, 1.0E-10); tau ~ dgamma(0.001, 0.001)
  w ~ dgamma(0.001, 0.001); for (j in 1:J) { u[j] ~ dnorm(0, w) } }"
m <- jags.model(textConnection(model), list(y = d$y, x = d$x, g = d$g, N = nrow(d), J = max(d$g)),
  inits = list(.RNG.name = "base::Mersenne-Twister", .RNG.seed = 7), quiet = TRUE)
update(m, 2000, progress.bar = "none")
u <- as.matrix(coda.samples(m, "u", 60000, progress.bar = "none")[[1]])
ranks <- t(apply(u, 1, rank))
figures <- function(x) c(mean = mean(x), quantile(x, c(0.025, 0.975)))
error <- function(x, f) { b <- apply(matrix(x, ncol = 40), 2, f); if (is.matrix(b)) apply(b, 1, sd) / sqrt(40) else sd(b) / sqrt(40) }
rows <- t(sapply(seq_len(ncol(u)), function(j) c(j, figures(u[, j]), error(u[, j], figures),
  mean(ranks[, j]), error(ranks[, j], mean))))
colnames(rows) <- c("g", "residual", "lower", "upper", "residual_error", "lower_error", "upper_error", "rank", "rank_error")
write.csv(signif(rows, 7), "tests/reference/residuals_jags.csv", row.names = FALSE)
cat("R", R.version$major, R.version$minor, "rjags", as.character(packageVersion("rjags")), "\n")
