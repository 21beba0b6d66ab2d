use serde_json::json;

use super::*;

fn options(row: Value) -> (Vec<(String, String)>, usize) {
    let question = question(&row, Form::Auto).unwrap();
    (question.options, question.answer)
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.into(), b.into())
}

#[test]
fn every_benchmark_is_recognised_and_asked_as_the_harness_does() {
    let piqa = json!({"goal": "Open a jar", "sol1": "Twist.", "sol2": "Eat.", "label": 0});
    let asked = "Question: Open a jar\nAnswer:";
    assert_eq!(
        options(piqa),
        (vec![pair(asked, " Twist."), pair(asked, " Eat.")], 0)
    );
    let arc = json!({"question": "Why?", "answerKey": "2",
        "choices": {"text": ["a", "b"], "label": ["1", "2"]}});
    let asked = "Question: Why?\nAnswer:";
    assert_eq!(
        options(arc),
        (vec![pair(asked, " a"), pair(asked, " b")], 1)
    );
    let mmlu = json!({"question": "Why?", "choices": ["a", "b"], "answer": "B", "subject": "x"});
    assert_eq!(
        options(mmlu),
        (vec![pair(asked, " a"), pair(asked, " b")], 1)
    );
    let swag = json!({"activity_label": "Cutting", "ctx": "A man [header] cuts  wood [title] He",
        "endings": ["stops.", "[step] sings."], "label": "1"});
    let context = "Cutting: A man cuts wood. He";
    assert_eq!(
        options(swag),
        (vec![pair(context, " stops."), pair(context, "  sings.")], 1)
    );
    let gap = json!({"sentence": "Ann met Eve as _ was late.", "option1": "Ann",
        "option2": "Eve", "answer": "2"});
    let expected = vec![
        pair("Ann met Eve as Ann", " was late."),
        pair("Ann met Eve as Eve", " was late."),
    ];
    assert_eq!(options(gap), (expected, 1));
    let own = json!({"context": "2 + 2 =", "choices": ["4", "5"], "answer": 0});
    assert_eq!(options(own).0[0], pair("2 + 2 =", " 4"));
}

#[test]
fn what_cannot_be_asked_is_named() {
    let error = |row: Value| question(&row, Form::Auto).unwrap_err().to_string();
    let unknown = error(json!({"text": "x", "id": 1}));
    assert!(unknown.contains("its fields are id, text"), "{unknown}");
    let hidden = json!({"goal": "g", "sol1": "a", "sol2": "b", "label": -1});
    assert!(error(hidden).contains("Use the validation split"));
    let beyond = json!({"context": "c", "choices": ["a", "b"], "answer": 2});
    assert_eq!(error(beyond), "its answer is number 3 of 2");
    let one = json!({"context": "c", "choices": ["a"], "answer": 0});
    assert!(error(one).contains("nothing to choose"));
    assert!(question(&json!(3), Form::Piqa).is_err());
}

#[test]
fn hellaswag_is_cleaned_as_the_harness_cleans_it() {
    let row = json!({"activity_label": "Cooking", "ctx_a": "A man stands in a kitchen.",
        "ctx_b": "he Smiles and", "ctx": "A man stands in a kitchen. he Smiles and",
        "endings": ["[step] stirs a pot. ", "sings."], "label": "0"});
    let context = "Cooking: A man stands in a kitchen. He smiles and";
    let expected = vec![pair(context, "  stirs a pot."), pair(context, " sings.")];
    assert_eq!(options(row), (expected, 0));
    let alone = json!({"activity_label": "Cooking", "ctx_a": "A man.", "ctx_b": "",
        "endings": ["a", "b"], "label": 1.0});
    assert_eq!(options(alone).0[0], pair("Cooking: A man.", " a"));
}

#[test]
fn blanks_at_edges_are_kept() {
    let piqa = json!({"goal": "Open it \n", "sol1": " Twist. ", "sol2": "Eat.", "label": 0});
    let asked = "Question: Open it \n\nAnswer:";
    assert_eq!(
        options(piqa).0,
        [pair(asked, "  Twist. "), pair(asked, " Eat.")]
    );
    let own = json!({"context": "2 + 2 = ", "choices": ["4 ", "5"], "answer": 0});
    assert_eq!(options(own).0[0], pair("2 + 2 = ", " 4 "));
    // `mmlu_continuation` strips the question.
    let mmlu = json!({"question": " Why? ", "choices": ["a ", "b"], "answer": 1});
    assert_eq!(options(mmlu).0[0], pair("Question: Why?\nAnswer:", " a "));
}

#[test]
fn more_benchmarks_are_recognised() {
    let siqa = json!({"context": "Ada lent Bo her bike.", "question": "What will Bo do?",
        "answerA": "return it", "answerB": "eat it", "answerC": "sing", "label": "1"});
    let (asked, answer) = options(siqa);
    let context = "Q: Ada lent Bo her bike. What will Bo do?\nA:";
    assert_eq!(
        (&asked[0], asked.len(), answer),
        (&pair(context, " return it"), 3, 0)
    );
    let book = json!({"question_stem": "Ice melts when it is", "answerKey": "B",
        "choices": {"text": ["warm", "cold"], "label": ["A", "B"]}});
    assert_eq!(
        options(book),
        (
            vec![
                pair("Ice melts when it is", " warm"),
                pair("Ice melts when it is", " cold")
            ],
            1
        )
    );
    let bool = json!({"question": "is ice cold", "passage": "Ice is frozen.", "answer": true});
    let context = "Ice is frozen.\nQuestion: is ice cold?\nAnswer:";
    let expected = vec![pair(context, " no"), pair(context, " yes")];
    assert_eq!(options(bool), (expected.clone(), 1));
    let glue = json!({"question": "is ice cold", "passage": "Ice is frozen.", "label": 0});
    assert_eq!(options(glue), (expected, 0));
    let science = json!({"question": "What freezes?", "distractor1": "fire",
        "distractor2": "air", "distractor3": "light", "correct_answer": "water", "support": " x"});
    let (asked, answer) = options(science);
    let context = "x\nQuestion: What freezes?\nAnswer:";
    assert_eq!((&asked[3], answer), (&pair(context, " water"), 3));
    let own = json!({"id": "1", "answerKey": "b", "question": {"stem": "Why?",
        "choices": [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]}});
    let context = "Question: Why?\nAnswer:";
    assert_eq!(
        options(own),
        (vec![pair(context, " a"), pair(context, " b")], 1)
    );
    let pro = json!({"question": "Why?", "options": ["a", "b"], "answer": "B", "answer_index": 1});
    assert_eq!(
        options(pro),
        (vec![pair(context, " a"), pair(context, " b")], 1)
    );
}

#[test]
fn an_answer_is_a_number_a_letter_or_a_text() {
    let answer = |answer: Value| {
        let row = json!({"question": "Why?", "choices": ["warm", "cold"], "answer": answer});
        question(&row, Form::Auto).map(|question| question.answer)
    };
    for second in [
        json!(1),
        json!(1.0),
        json!("1"),
        json!("1.0"),
        json!("b"),
        json!("B"),
    ] {
        assert_eq!(answer(second.clone()).unwrap(), 1, "{second}");
    }
    assert_eq!(answer(json!("cold")).unwrap(), 1);
    for none in [
        json!(true),
        json!(0.5),
        json!("hot"),
        json!([1]),
        json!("b, c"),
    ] {
        let error = answer(none.clone()).unwrap_err().to_string();
        assert!(
            error.contains(&none.to_string()) && error.contains("give the number"),
            "{error}"
        );
    }
    for hidden in [json!(null), json!(""), json!(-1), json!(-1.0), json!("-1")] {
        let error = answer(hidden.clone()).unwrap_err().to_string();
        assert!(
            error.contains("Use the validation split"),
            "{hidden}: {error}"
        );
    }
    let yes = json!({"question": "?", "choices": ["Yes", "no"], "answer": true});
    assert_eq!(options(yes).1, 0);
    let none = json!({"question": "?", "choices": ["a", "b"]});
    let error = question(&none, Form::Auto).unwrap_err().to_string();
    assert_eq!(error, "it has no `answer`");
    let zero = json!({"sentence": "A _ b", "option1": "x", "option2": "y", "answer": "0"});
    let error = question(&zero, Form::Auto).unwrap_err().to_string();
    assert!(error.contains("the first choice is number 1"), "{error}");
}

#[test]
fn choices_that_are_no_texts_are_not_passed_over() {
    let row = json!({"question": "Why?", "answerKey": "B",
        "choices": {"text": ["a", 4, "c"], "label": ["A", "B", "C"]}});
    let error = question(&row, Form::Auto).unwrap_err().to_string();
    assert_eq!(error, "an item of `choices.text` is no text");
    let row = json!({"question": "Is it?", "mc1_targets": {"choices": ["a"], "labels": [1]}});
    let error = question(&row, Form::Auto).unwrap_err().to_string();
    assert!(error.contains("give it `context`"), "{error}");
    assert!(
        question(
            &json!({"article": "x", "question": "?", "options": ["a", "b"],
        "answer": "A"}),
            Form::Auto
        )
        .is_err()
    );
}
