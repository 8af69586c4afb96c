# Fits by R's packages, timed: Rscript benchmarks/peers.R FOLDER PEER
# FOLDER holds y.bin, x.bin, g.bin (32-bit integers). Prints one line of JSON.
args <- commandArgs(trailingOnly = TRUE)
folder <- args[1]; peer <- args[2]
column <- function(name) readBin(file.path(folder, paste0(name, ".bin")), "integer", n = 2e7, size = 4)
d <- data.frame(y = column("y"), x = column("x"), g = factor(column("g")))
d$x <- d$x - mean(d$x)
# Small data: warmed up by a first call, then the quickest of five, as this library is timed.
quickest <- function(work) {
  times <- lapply(seq_len(if (nrow(d) < 1e5) 6 else 1), function(i) spent(work()))
  if (length(times) > 1) times <- times[-1]
  times[[which.min(sapply(times, function(t) t[["cpu"]]))]]
}
spent <- function(expr) { gc(); t <- system.time(expr); c(cpu = t[["user.self"]] + t[["sys.self"]], wall = t[["elapsed"]]) }
say <- function(...) {
  v <- list(...)
  cat("{", paste0('"', names(v), '": ', sapply(v, function(a)
    if (is.character(a)) paste0('"', a, '"') else if (length(a) > 1) paste0("[", paste(format(a, digits = 15, trim = TRUE), collapse = ", "), "]")
    else format(a, digits = 15)), collapse = ", "), "}\n", sep = "")
}
shown <- function(p) paste0("R ", R.version$major, ".", R.version$minor, ", ", p, " ", packageVersion(p))
if (peer == "lme4") {
  suppressMessages(library(lme4))
  t <- quickest(function() { one <<- suppressMessages(suppressWarnings(lmer(y ~ x + (1 | g), d, REML = FALSE))); two <<- suppressMessages(suppressWarnings(lmer(y ~ x + (1 + x | g), d, REML = FALSE))) })
  v <- sapply(list(one, two), function(m) { b <- VarCorr(m)$g[1, 1]; b / (b + sigma(m)^2) })
  say(peer = peer, software = shown("lme4"), cpu = t[["cpu"]], wall = t[["wall"]], deviance = c(-2 * logLik(one), -2 * logLik(two)), vpc = v)
} else if (peer == "nlme") {
  suppressMessages(library(nlme))
  one <- two <- NULL
  t <- quickest(function() { one <<- lme(y ~ x, d, ~ 1 | g, method = "ML"); two <<- tryCatch(lme(y ~ x, d, ~ 1 + x | g, method = "ML"), error = function(e) NULL) })
  found <- Filter(Negate(is.null), list(one, two))
  v <- sapply(found, function(m) { b <- getVarCov(m)[1, 1]; b / (b + m$sigma^2) })
  say(peer = peer, software = shown("nlme"), cpu = t[["cpu"]], wall = t[["wall"]], deviance = sapply(found, function(m) -2 * as.numeric(logLik(m))), vpc = v,
      failed = 2 - length(found))
} else if (peer %in% c("jags_intercept", "jags_slope")) {
  suppressMessages(library(rjags))
  draws <- as.integer(args[3]); slope <- peer == "jags_slope"
  line <- if (slope) "u[g[i], 1] + u[g[i], 2] * x[i]" else "u[g[i]]"
  rest <- if (slope) "for (j in 1:J) { u[j, 1:2] ~ dmnorm(zero, P) } P ~ dwish(S, 2); v <- inverse(P); vpc <- v[1, 1] / (v[1, 1] + 1 / tau)"
          else "for (j in 1:J) { u[j] ~ dnorm(0, w) } w ~ dgamma(0.001, 0.001); vpc <- 1 / w / (1 / w + 1 / tau)"
  code <- sprintf("model { for (i in 1:N) { y[i] ~ dnorm(b[1] + b[2] * x[i] + %s, tau) } b[1] ~ dnorm(0, 1.0E-10); b[2] ~ dnorm(0, 1.0E-10); tau ~ dgamma(0.001, 0.001); %s }", line, rest)
  data <- list(y = d$y, x = d$x, g = as.integer(d$g), N = nrow(d), J = nlevels(d$g))
  if (slope) { data$zero <- c(0, 0); data$S <- matrix(as.numeric(args[4:7]), 2) }
  m <- jags.model(textConnection(code), data, inits = list(.RNG.name = "base::Mersenne-Twister", .RNG.seed = 3), quiet = TRUE)
  update(m, 500, progress.bar = "none")
  s <- NULL
  t <- spent(s <- as.matrix(coda.samples(m, "vpc", draws, progress.bar = "none")[[1]])[, 1])
  writeBin(as.numeric(s), file.path(folder, paste0(peer, ".bin")))
  say(peer = peer, software = paste0("R ", R.version$major, ".", R.version$minor, ", rjags ", packageVersion("rjags"), ", JAGS 4.3.1"), cpu = t[["cpu"]], wall = t[["wall"]], draws = draws)
} else if (peer == "brms") {
  if (!requireNamespace("brms", quietly = TRUE)) { message("not installed"); quit(status = 1) }
  suppressMessages({ library(brms); library(rstan) })
  # Debian keeps the Boost headers outside R.
  if (!nzchar(system.file("include", package = "BH")) && file.exists("/usr/include/boost")) rstan_options(boost_lib = "/usr/include")
  draws <- as.integer(args[3]); out <- NULL
  quiet <- function(expr) { sink(tempfile()); on.exit(sink()); suppressMessages(suppressWarnings(expr)) }
  compiled <- quiet(brm(y ~ x + (1 + x | g), d, chains = 0))
  t <- spent(out <- quiet(update(compiled, recompile = FALSE, chains = 2, cores = 1, iter = draws + 500, warmup = 500, seed = 1, refresh = 0)))
  s <- as.data.frame(out)
  b <- s$sd_g__Intercept^2
  writeBin(as.numeric(b / (b + s$sigma^2)), file.path(folder, "brms.bin"))
  say(peer = peer, software = paste0(shown("brms"), ", rstan ", packageVersion("rstan")), cpu = t[["cpu"]], wall = t[["wall"]], draws = 2 * draws)
}
