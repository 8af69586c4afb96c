# Posterior quantiles from JAGS with three random terms, for tests/multilevel/test_gibbs_jags.py.
# Run from the repository's root: Rscript tests/reference/gibbs_three.R
# Writes gibbs_three.json beside it, with versions and Monte Carlo errors (batch means).
suppressMessages(library(rjags))
d <- read.csv("tests/reference/gibbs_three.csv")
for (k in c("x", "z")) d[[k]] <- d[[k]] - mean(d[[k]])
SCALE <- matrix(c(6, .3, -.1, .3, .09, .006, -.1, .006, .03), 3)   # inverse-Wishart(4, SCALE)
HALF <- c(3, .3, .15)

head <- "model { for (i in 1:N) { y[i] ~ dnorm(inprod(b, X[i, ]) + inprod(u[g[i], ], X[i, ]), tau) }
  for (k in 1:3) { b[k] ~ dnorm(0, 1.0E-10) }
  for (j in 1:J) { u[j, 1:3] ~ dmnorm(zero, P) } s2 <- 1 / tau; vpc <- v[1, 1] / (v[1, 1] + s2); "
# Uniform over correlation matrices of three (LKJ of shape 1) by two correlations and a partial one.
models <- list(
  wishart = paste0(head, "tau ~ dgamma(0.001, 0.001); P ~ dwish(S, 4); v <- inverse(P) }"),
  half_normal = paste0(head, "tau <- pow(sigma, -2); sigma ~ dunif(0, 100);
    for (k in 1:3) { s[k] ~ dnorm(0, 1 / pow(h[k], 2)) T(0, ) }
    c12 ~ dbeta(1.5, 1.5); c13 ~ dbeta(1.5, 1.5); c23 ~ dunif(-1, 1);
    r12 <- 2 * c12 - 1; r13 <- 2 * c13 - 1;
    r23 <- c23 * sqrt((1 - r12 * r12) * (1 - r13 * r13)) + r12 * r13;
    for (k in 1:3) { v[k, k] <- pow(s[k], 2) }
    v[1, 2] <- r12 * s[1] * s[2]; v[2, 1] <- v[1, 2];
    v[1, 3] <- r13 * s[1] * s[3]; v[3, 1] <- v[1, 3];
    v[2, 3] <- r23 * s[2] * s[3]; v[3, 2] <- v[2, 3];
    P <- inverse(v) }"))

quantiles <- function(x) {                       # median and bounds, each with its batch-means error
  p <- c(0.025, 0.5, 0.975)
  batches <- matrix(x, ncol = 40)
  se <- apply(apply(batches, 2, quantile, p), 1, sd) / sqrt(40)
  list(value = unname(quantile(x, p)), error = unname(se))
}

run <- function(name) {
  data <- list(y = d$y, X = cbind(1, d$x, d$z), g = d$g, N = nrow(d), J = max(d$g), zero = c(0, 0, 0))
  if (name == "wishart") data$S <- SCALE else data$h <- HALF
  start <- list(.RNG.name = "base::Mersenne-Twister", .RNG.seed = 7)
  m <- jags.model(textConnection(models[[name]]), data, inits = start, quiet = TRUE)
  update(m, 3000, progress.bar = "none")
  s <- as.matrix(coda.samples(m, c("b", "v", "s2", "vpc"), 60000, progress.bar = "none")[[1]])
  keep <- setdiff(colnames(s), c("v[2,1]", "v[3,1]", "v[3,2]"))
  sapply(keep, function(k) quantiles(s[, k]), simplify = FALSE)
}

json <- function(x) {
  if (is.list(x)) return(paste0("{", paste0('"', names(x), '": ', sapply(x, json), collapse = ",\n "), "}"))
  if (is.character(x)) return(paste0('"', x, '"'))
  paste0("[", paste(format(x, digits = 8, trim = TRUE), collapse = ", "), "]")
}
result <- sapply(names(models), run, simplify = FALSE)
result$software <- list(R = paste(R.version$major, R.version$minor, sep = "."),
                        rjags = as.character(packageVersion("rjags")), JAGS = "4.3.1", draws = "60000 after 3000")
writeLines(json(result), "tests/reference/gibbs_three.json")
