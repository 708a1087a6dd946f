//! Tests of the log: whatever the configuration and the text, lines stay lines.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SETTINGS: Settings<'static> = Settings {
    config: "",
    level: "",
    namespace: "ns",
    revision: "rev",
    pod: "pod",
};

/// The sample of Knative's config-logging.
const SAMPLE: &str = r#"{"level":"info","development":false,"outputPaths":["stdout"],"errorOutputPaths":["stderr"],
    "encoding":"json","encoderConfig":{"timeKey":"timestamp","levelKey":"severity","nameKey":"logger",
    "callerKey":"caller","messageKey":"message","stacktraceKey":"stacktrace","lineEnding":"","levelEncoder":"",
    "timeEncoder":"iso8601","durationEncoder":"string","callerEncoder":""}}"#;

fn log(config: &str) -> Log {
    let (log, fault) = Log::new(&Settings { config, ..SETTINGS });
    assert_eq!(fault, None, "{config}");
    log
}

fn line(log: &Log, level: Level, message: &str, fields: &Members) -> String {
    let entry = Entry {
        level,
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_247_423_497),
        file: "queue-proxy/src/some/where.rs",
        line: 7,
        module: "xdt_queue_proxy::some::where",
        message,
        fields,
        stack: log.stack_from.is_some_and(|from| level >= from),
    };
    String::from_utf8(log.encoder.line(&entry)).expect("text")
}

fn object(log: &Log, level: Level, message: &str) -> Value {
    serde_json::from_str(&line(log, level, message, &Members::default())).expect("JSON")
}

#[test]
fn the_default_has_knatives_keys_in_zaps_order() {
    let mut fields = Members::default();
    fields.put("error", "a \"quoted\"\nline");
    let told = line(&log(""), Level::Error, "m", &fields);
    let commit = COMMIT
        .map(|commit| format!(r#""commit":"{commit}","#))
        .unwrap_or_default();
    let expected = format!(
        r#"{{"severity":"ERROR","timestamp":"2026-11-21T07:50:23.497Z","logger":"queueproxy","caller":"some/where.rs:7","message":"m",{commit}"knative.dev/key":"ns/rev","knative.dev/pod":"pod","error":"a \"quoted\"\nline","stacktrace":"xdt_queue_proxy::some::where\n\tqueue-proxy/src/some/where.rs:7"}}"#
    );
    assert_eq!(told, expected + "\n");
}

#[test]
fn all_severities_have_knatives_words() {
    let log = log("");
    let levels = ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];
    let words = levels.map(|level| object(&log, Level::parse(level).expect("a level"), "")["severity"].clone());
    assert_eq!(
        words,
        ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"]
    );
}

#[test]
fn the_sample_configuration_writes_lower_case_and_iso_8601() {
    let told = object(&log(SAMPLE), Level::Warn, "m");
    assert_eq!(told["severity"], "warn");
    assert_eq!(told["timestamp"], "2026-11-21T07:50:23.497Z");
    assert_eq!((&told["logger"], &told["message"]), (&json!("queueproxy"), &json!("m")));
}

#[test]
fn an_absent_key_keeps_the_default_and_an_empty_one_selects_zaps() {
    let kept = object(&log(r#"{"encoderConfig":{"timeKey":"ts"}}"#), Level::Info, "m");
    assert_eq!((&kept["severity"], kept["ts"].is_string()), (&json!("INFO"), true));
    let zap = r#"{"encoderConfig":{"levelEncoder":"","timeEncoder":"","callerEncoder":"","NAMEKEY":""}}"#;
    let zap = object(&log(zap), Level::Info, "m");
    assert_eq!((&zap["severity"], zap["timestamp"].is_f64()), (&json!("info"), true));
    assert!(zap.get("logger").is_none());
    let none = object(
        &log(r#"{"encoderConfig":{"levelEncoder":null},"sampling":null}"#),
        Level::Info,
        "m",
    );
    assert_eq!(none["severity"], "INFO");
}

#[test]
fn levels_have_four_more_forms() {
    for (form, word) in [
        ("capital", "WARN"),
        ("color", "\u{1b}[33mwarn\u{1b}[0m"),
        ("capitalColor", "\u{1b}[33mWARN\u{1b}[0m"),
        ("whatever", "warn"),
    ] {
        let config = json!({"encoderConfig": {"levelEncoder": form}}).to_string();
        assert_eq!(object(&log(&config), Level::Warn, "m")["severity"], word);
    }
}

#[test]
fn switches_are_honoured() {
    let config = r#"{"disableCaller":true,"disableStacktrace":true,"initialFields":{"b":[1],"A":"x"},
        "encoderConfig":{"lineEnding":"\r\n","messageKey":""}}"#;
    let log = log(config);
    let told = line(&log, Level::Error, "m", &Members::default());
    assert!(told.ends_with("}\r\n"), "{told}");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    for absent in ["caller", "stacktrace", "message"] {
        assert!(told.get(absent).is_none(), "{told}");
    }
    assert_eq!((&told["A"], &told["b"]), (&json!("x"), &json!([1])));
    let full = object(
        &self::log(r#"{"encoderConfig":{"callerEncoder":"full","functionKey":"f"}}"#),
        Level::Info,
        "m",
    );
    assert_eq!(full["caller"], "queue-proxy/src/some/where.rs:7");
    assert_eq!(full["f"], "xdt_queue_proxy::some::where");
    assert!(object(&self::log(r#"{"development":true}"#), Level::Warn, "m")["stacktrace"].is_string());
}

#[test]
fn the_console_encoding_is_tab_separated_text_with_the_fields_as_json() {
    let config = r#"{"encoding":"console","encoderConfig":{"timeEncoder":"millis","levelEncoder":"capital"}}"#;
    let mut fields = Members::default();
    fields.put("n", &1);
    let told = line(&log(config), Level::Error, "two words", &fields);
    let (first, rest) = told.split_once('{').expect("fields");
    assert_eq!(first, "1795247423497\tERROR\tqueueproxy\tsome/where.rs:7\ttwo words\t");
    assert!(
        rest.contains("\"knative.dev/pod\":\"pod\",\"n\":1}\nxdt_queue_proxy::some::where\n\t"),
        "{rest}"
    );
}

#[test]
fn the_level_variable_beats_the_configuration_and_nonsense_is_ignored() {
    let level = |config, level| {
        let settings = Settings {
            config,
            level,
            ..SETTINGS
        };
        Log::new(&settings).0.level
    };
    assert_eq!(level("", ""), Level::Info);
    assert_eq!(level(r#"{"level":"ERROR"}"#, ""), Level::Error);
    assert_eq!(level(r#"{"level":"error"}"#, "debug"), Level::Debug);
    assert_eq!(level(r#"{"level":"error"}"#, "loud"), Level::Error);
    assert_eq!(level("{", "fatal"), Level::Fatal);
    assert_eq!(Level::Fatal.filter(), tracing::level_filters::LevelFilter::ERROR);
}

#[test]
fn what_zap_refuses_gives_the_fallback() {
    for config in [
        "{",
        "[]",
        "1",
        "x",
        "{}{}",
        r#"{"level":"loud"}"#,
        r#"{"level":3}"#,
        r#"{"encoding":"xml"}"#,
        r#"{"encoding":""}"#,
        r#"{"outputPaths":"stdout"}"#,
        r#"{"outputPaths":["/no/such/folder/log"]}"#,
        r#"{"sampling":{"initial":"many"}}"#,
        r#"{"encoderConfig":{"timeKey":1}}"#,
        r#"{"encoderConfig":{"timeEncoder":1}}"#,
    ] {
        let (log, fault) = Log::new(&Settings { config, ..SETTINGS });
        assert!(fault.is_some(), "{config}");
        assert_eq!(object(&log, Level::Info, "m")["logger"], FALLBACK_NAME);
    }
    for config in [
        "null",
        "{}",
        r#"{"unknown":1,"encoderConfig":{"unknown":[]}}"#,
        r#"{"outputPaths":[]}"#,
    ] {
        drop(log(config));
    }
}

/// Any JSON, with zap's own keys and words among it.
fn any_config() -> impl Strategy<Value = String> {
    let keys = [
        "level",
        "encoding",
        "sampling",
        "encoderConfig",
        "outputPaths",
        "initialFields",
        "timeKey",
        "lineEnding",
        "timeEncoder",
        "levelEncoder",
        "callerEncoder",
        "initial",
        "thereafter",
        "consoleSeparator",
        "functionKey",
    ];
    let words = [
        "", "info", "debug", "json", "console", "color", "nanos", "rfc3339", "full", "stdout", "stderr",
    ];
    let key = prop_oneof![3 => proptest::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(words.to_vec()).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 8, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            4 => proptest::collection::btree_map(key.clone(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

proptest! {
    #[test]
    fn any_configuration_works_or_is_refused(config in any_config(), message in "\\PC*|.*", text in ".*") {
        if let Ok(config) = Config::parse(&config) {
            let mut fields = Members::default();
            fields.put(&text, &text);
            let encoder = Encoder::new(&config, NAME, Members::default());
            let entry = Entry {
                level: Level::Error, time: SystemTime::now(), file: &text, line: 1, module: "m",
                message: &message, fields: &fields, stack: true,
            };
            let line = encoder.line(&entry);
            if !config.is_console() {
                let told: Value = serde_json::Deserializer::from_slice(&line).into_iter().next().expect("a line").expect("JSON");
                prop_assert!(told.is_object());
            }
        }
    }

    #[test]
    fn any_text_is_one_line_of_json(message in ".*", text in "(?s).*", number in any::<f64>()) {
        let mut fields = Members::default();
        fields.put("text", &text);
        fields.put("number", &number);
        let told = line(&log(""), Level::Info, &message, &fields);
        prop_assert_eq!(told.matches('\n').count(), 1);
        let told: Value = serde_json::from_str(&told).expect("JSON");
        prop_assert_eq!(&told["message"], &message);
        prop_assert_eq!(&told["text"], &text);
    }
}
