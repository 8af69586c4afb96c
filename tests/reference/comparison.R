# Reference figures for tests/findings/test_comparison.py and test_scales.py: base R alone.
# Run in this folder: Rscript comparison.R
# Writes comparison_data.csv (made here, by arithmetic, so that no generator matters) and
# comparison.csv (name, value).

options(digits = 17)
i <- 0:119
therapist <- i %% 10
d <- data.frame(
  therapist_id = sprintf("T%02d", therapist + 1),
  phq9_pre = (i * 7 + i %/% 11) %% 24 + 3
)
shift <- ifelse(therapist < 5, -5, 0) + (therapist %% 5) - 2
d$phq9_post <- pmin(27, pmax(0, d$phq9_pre + shift + (i * 5) %% 13 - 6))
d$cluster <- ifelse(therapist < 5, "upper", "lower")
write.csv(d, "comparison_data.csv", row.names = FALSE, quote = FALSE)

out <- c()
fit <- lm(phq9_post ~ phq9_pre + I(cluster == "upper"), d)
s <- summary(fit)$coefficients[3, ]
f <- anova(lm(phq9_post ~ phq9_pre, d), fit)
out["ancova_difference"] <- s[1]
out["ancova_se"] <- s[2]
out["ancova_F"] <- f$F[2]
out["ancova_df2"] <- f$Res.Df[2]
out["ancova_p"] <- f$`Pr(>F)`[2]

case <- d$phq9_pre >= 10
improved <- d$phq9_pre - d$phq9_post >= 6
worse <- d$phq9_post - d$phq9_pre >= 6
rcsi <- case & improved & d$phq9_post < 10
chi <- function(yes, keep = TRUE) {
  suppressWarnings(chisq.test(table(d$cluster[keep], yes[keep]), correct = FALSE))
}
for (k in list(list("caseness", case, TRUE), list("improvement", improved, TRUE),
               list("deterioration", worse, TRUE), list("rcsi", rcsi, case))) {
  test <- chi(k[[2]], k[[3]])
  out[paste0(k[[1]], "_chi2")] <- test$statistic
  out[paste0(k[[1]], "_p")] <- test$p.value
}

# Exact permutation over midranks, every split enumerated.
exact <- function(x, y) {
  r <- rank(c(x, y))
  n <- length(x)
  sums <- combn(length(r), n, function(k) sum(r[k]))
  w <- sum(r[seq_len(n)])
  centre <- n * (length(r) + 1) / 2
  u <- w - n * (n + 1) / 2
  c(U = min(u, n * length(y) - u),
    p = mean(abs(sums - centre) >= abs(w - centre) - 1e-9),
    p_high = mean(sums >= w - 1e-9))
}
pairs <- list(
  a = list(c(78, 81, 84, 79, 90), c(70, 72, 80, 65, 78)),
  b = list(c(61, 64, 70, 66, 59), c(70, 75, 71, 80, 77)),
  c = list(c(3, 3, 4, 5), c(1, 2, 3, 3, 3, 9)),
  d = list(c(2, 2, 2), c(2, 2, 2, 2))
)
for (name in names(pairs)) {
  e <- exact(pairs[[name]][[1]], pairs[[name]][[2]])
  for (k in names(e)) out[paste(name, k, sep = "_")] <- e[[k]]
}
# Without ties base R's own exact test is the judge.
w <- wilcox.test(c(1.1, 2.2, 5.5, 7.1, 9.9), c(3.1, 4.2, 8.5, 10.1, 11.9, 12.5), exact = TRUE)
out["untied_p"] <- w$p.value
out["spearman"] <- cor(c(1, 2, 3, 4, 5, 6.5, 6.5), c(2, 1, 4, 3, 7, 5, 6), method = "spearman")
p <- c(.03, .2, .01, .6, .04)
for (k in seq_along(p)) out[paste0("holm_", k)] <- p.adjust(p, "holm")[k]

con <- file("comparison.csv", "w")
writeLines(paste("#", R.version.string), con)
writeLines("name,value", con)
writeLines(paste(names(out), format(out, digits = 17, trim = TRUE), sep = ","), con)
close(con)
