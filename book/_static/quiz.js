// Quick questions: says at once whether a choice is right, and why. Without this file the page
// still reads: every question keeps its answer in a fold.
(function () {
  "use strict";
  function answer(input) {
    var question = input.closest(".pwp-question");
    var feedback = question.querySelector(".pwp-feedback");
    var right = input.dataset.right === "yes";
    question.querySelectorAll(".pwp-choice").forEach(function (choice) {
      choice.classList.remove("pwp-right", "pwp-wrong");
    });
    input.closest(".pwp-choice").classList.add(right ? "pwp-right" : "pwp-wrong");
    var because = input.closest(".pwp-choice").querySelector(".pwp-because");
    // The reasons come from the book's own source.
    feedback.innerHTML =
      "<strong>" + (right ? "✓ Right." : "✗ Not quite.") + "</strong> " +
      (because ? because.innerHTML : "");
  }
  document.addEventListener("change", function (event) {
    if (event.target.matches && event.target.matches(".pwp-choice input")) {
      answer(event.target);
    }
  });
})();
