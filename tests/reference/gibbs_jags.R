# Posterior quantiles from JAGS for the models and priors of tests/multilevel/test_gibbs_jags.py.
# Run from the repository's root: Rscript tests/reference/gibbs_jags.R
# Writes gibbs_jags.json beside it, with versions and Monte Carlo errors (batch means).
suppressMessages(library(rjags))
d <- read.csv("tests/reference/gibbs_data.csv")
d$x <- d$x - mean(d$x)
SCALE <- matrix(c(5.0, 0.2, 0.2, 0.03), 2)   # inverse-Wishart(2, SCALE), as MLwiN's for an ML estimate of half of it
HALF <- c(3, 0.3)

head <- "model { for (i in 1:N) { y[i] ~ dnorm(b[1] + b[2] * x[i] + %s, tau) }
  b[1] ~ dnorm(0, 1.0E-10); b[2] ~ dnorm(0, 1.0E-10); s2 <- 1 / tau; "
one <- sprintf(head, "u[g[i]]")
two <- sprintf(head, "u[g[i], 1] + u[g[i], 2] * x[i]")
matrix_u <- "for (j in 1:J) { u[j, 1:2] ~ dmnorm(zero, P) } v <- inverse(P); vpc <- v[1, 1] / (v[1, 1] + s2) }"
single_u <- "for (j in 1:J) { u[j] ~ dnorm(0, 1 / v) } vpc <- v / (v + s2) }"
gamma_tau <- "tau ~ dgamma(0.001, 0.001); "
flat_sigma <- "tau <- pow(sigma, -2); sigma ~ dunif(0, 100); "
models <- list(
  intercept_mlwin = paste0(one, gamma_tau, "w ~ dgamma(0.001, 0.001); v <- 1 / w; ", single_u),
  intercept_flat_sd = paste0(one, flat_sigma, "s ~ dunif(0, 100); v <- pow(s, 2); ", single_u),
  slope_mlwin = paste0(two, gamma_tau, "P ~ dwish(S, 2); ", matrix_u),
  slope_half_normal = paste0(two, flat_sigma,
    "s[1] ~ dnorm(0, 1 / pow(h[1], 2)) T(0, ); s[2] ~ dnorm(0, 1 / pow(h[2], 2)) T(0, ); rho ~ dunif(-1, 1);
     C[1, 1] <- pow(s[1], 2); C[2, 2] <- pow(s[2], 2); C[1, 2] <- rho * s[1] * s[2]; C[2, 1] <- C[1, 2];
     P <- inverse(C); ", matrix_u))

quantiles <- function(x) {                       # median and bounds, each with its batch-means error
  p <- c(0.025, 0.5, 0.975)
  batches <- matrix(x, ncol = 40)
  se <- apply(apply(batches, 2, quantile, p), 1, sd) / sqrt(40)
  list(value = unname(quantile(x, p)), error = unname(se))
}

run <- function(name) {
  data <- list(y = d$y, x = d$x, g = d$g, N = nrow(d), J = max(d$g))
  if (grepl("slope", name)) data$zero <- c(0, 0)
  if (name == "slope_mlwin") data$S <- SCALE
  if (name == "slope_half_normal") data$h <- HALF
  start <- list(.RNG.name = "base::Mersenne-Twister", .RNG.seed = 7)
  m <- jags.model(textConnection(models[[name]]), data, inits = start, quiet = TRUE)
  update(m, 2000, progress.bar = "none")
  seconds <- system.time(s <- as.matrix(coda.samples(m, c("b", "v", "s2", "vpc"), 80000, progress.bar = "none")[[1]]))[["elapsed"]]
  cat(name, "seconds:", seconds, "effective draws of vpc a second:", effectiveSize(s[, "vpc"]) / seconds, "\n")
  keep <- setdiff(colnames(s), "v[2,1]")
  sapply(keep, function(k) quantiles(s[, k]), simplify = FALSE)
}

json <- function(x) {
  if (is.list(x)) return(paste0("{", paste0('"', names(x), '": ', sapply(x, json), collapse = ",\n "), "}"))
  if (is.character(x)) return(paste0('"', x, '"'))
  paste0("[", paste(format(x, digits = 8, trim = TRUE), collapse = ", "), "]")
}
result <- sapply(names(models), run, simplify = FALSE)
result$software <- list(R = paste(R.version$major, R.version$minor, sep = "."),
                        rjags = as.character(packageVersion("rjags")), JAGS = "4.3.1", draws = "80000 after 2000")
writeLines(json(result), "tests/reference/gibbs_jags.json")
