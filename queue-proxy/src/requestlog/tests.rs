//! What templates see of one request, field by field.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use proptest::prelude::*;

use super::*;

fn revision() -> Revision {
    let [name, namespace, service, configuration, pod, pod_ip] =
        ["rev", "ns", "svc", "cfg", "pod", "10.1.2.3"].map(str::to_owned);
    Revision {
        name,
        namespace,
        service,
        configuration,
        pod,
        pod_ip,
    }
}

fn head(target: &str, version: http::Version, pairs: &[(&str, &str)], passed_on: bool) -> Head {
    let mut request = Request::new(Full::new(Bytes::from_static(b"12345")));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse::<Uri>().expect("a target");
    *request.version_mut() = version;
    for (name, value) in pairs {
        let name: http::HeaderName = name.parse().expect("a name");
        request
            .headers_mut()
            .append(name, value.parse().expect("a header value"));
    }
    let address: SocketAddr = "[::ffff:10.0.0.9]:4711".parse().expect("an address");
    let mut head = Head::of(&request, Peer { address, tls: false });
    head.finish(passed_on);
    head
}

fn sample() -> Head {
    let pairs = [
        ("host", "app.example"),
        ("user-agent", "curl/8.0 \"x\""),
        ("referer", "http://r/?a=b"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-request-id", "id-1"),
        ("cookie", "a=1; b=\"two words\"; bad name=x"),
        ("cookie", "c=3"),
        ("connection", "keep-alive"),
        ("x-forwarded-for", "1.2.3.4"),
        ("k-original-host", "other.example"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("pragma", "no-cache"),
        ("xdt-reference", "xdt1.AAAA"),
    ];
    head("/a%2Fb/(c)?x=1&y=a+b&x=2&bad=%zz", http::Version::HTTP_11, &pairs, true)
}

fn run(template: &str, head: &Head) -> Result<String, String> {
    let template = Template::parse(NAME, template).map_err(|error| error.to_string())?;
    let revision = revision();
    let answer = Answer {
        code: 201,
        size: 53,
        latency: Duration::from_nanos(1_287_266),
    };
    let data = Value::Struct(Rc::new(Input {
        head,
        answer,
        revision: &revision,
    }));
    let mut out = Vec::new();
    let done = template.execute(&data, &mut out);
    done.map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn requests_look_as_in_go() {
    let head = sample();
    for (template, expected) in [
        ("{{.Request.Method}}", "POST"),
        ("{{.Request.RequestURI}}", "/a%2Fb/(c)?x=1&y=a+b&x=2&bad=%zz"),
        ("{{.Request.URL}}", "/a%2Fb/(c)?x=1&y=a+b&x=2&bad=%zz"),
        (
            "{{js .Request.URL}}",
            r"/a%2Fb/(c)?x\u003D1\u0026y\u003Da+b\u0026x\u003D2\u0026bad\u003D%zz",
        ),
        ("{{.Request.URL.Path}}", "/a/b/(c)"),
        ("{{.Request.URL.RawPath}}", "/a%2Fb/(c)"),
        ("{{.Request.URL.EscapedPath}}", "/a%2Fb/(c)"),
        ("{{.Request.URL.RawQuery}}", "x=1&y=a+b&x=2&bad=%zz"),
        ("{{.Request.URL.Query}}", "map[x:[1 2] y:[a b]]"),
        ("{{.Request.URL.Query.Get `y`}}", "a b"),
        ("{{.Request.URL.Query.Has `z`}}", "false"),
        ("{{.Request.URL.Query.Encode}}", "x=1&x=2&y=a+b"),
        ("{{index .Request.URL.Query `x` 1}}", "2"),
        (
            "{{.Request.URL.Host}}{{.Request.URL.Scheme}}{{.Request.URL.User}}",
            "<nil>",
        ),
        ("{{.Request.URL.IsAbs}}", "false"),
        ("{{.Request.URL.RequestURI}}", "/a%2Fb/(c)?x=1&y=a+b&x=2&bad=%zz"),
        ("{{.Request.Host}}", "app.example"),
        ("{{.Request.RemoteAddr}}", "10.0.0.9:4711"),
        (
            "{{.Request.Proto}} {{.Request.ProtoMajor}} {{.Request.ProtoMinor}}",
            "HTTP/1.1 1 1",
        ),
        (
            "{{.Request.ProtoAtLeast 1 1}}{{.Request.ProtoAtLeast 2 0}}",
            "truefalse",
        ),
        ("{{.Request.ContentLength}}", "5"),
        ("{{.Request.TransferEncoding}}", "[]"),
        ("{{.Request.Close}}", "false"),
    ] {
        assert_eq!(run(template, &head).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn headers_answers_and_revisions_look_as_in_go() {
    let head = sample();
    for (template, expected) in [
        ("{{.Request.UserAgent}}", "curl/8.0 \"x\""),
        ("{{js .Request.UserAgent}}", r#"curl/8.0 \"x\""#),
        ("{{.Request.Referer}}", "http://r/?a=b"),
        ("{{index .Request.Header \"X-A\"}}", "[1 2]"),
        ("{{.Request.Header.Get \"X-A\"}} {{.Request.Header.Get \"x-a\"}}", "1 1"),
        ("{{index .Request.Header \"x-a\"}}", "[]"),
        ("{{.Request.Header.Values \"x-A\"}}", "[1 2]"),
        ("{{.Request.Header.Referer}}", "[http://r/?a=b]"),
        ("{{.Request.Header.Missing}}", "<no value>"),
        (
            "{{.Request.Header.Get \"Missing\"}}|{{.Request.Header.Values \"Missing\"}}",
            "|[]",
        ),
        ("{{index .Request.Header \"Host\"}}", "[]"),
        ("{{.Request.Header.Get \"Forwarded\"}}", "for=1.2.3.4"),
        ("{{.Request.Header.Get \"K-Original-Host\"}}", ""),
        ("{{.Request.Header.Get \"X-Forwarded-For\"}}", "1.2.3.4"),
        ("{{.Request.Header.Get \"Connection\"}}", "keep-alive"),
        ("{{.Request.Header.Get \"Cache-Control\"}}", "no-cache"),
        ("{{.Request.Header.Get \"Xdt-Reference\"}}", ""),
        (
            "{{range $k, $v := .Request.Header}}{{if eq (len $v) 2}}{{$k}}={{$v}};{{end}}{{end}}",
            "Cookie=[a=1; b=\"two words\"; bad name=x c=3];X-A=[1 2];",
        ),
        ("{{len .Request.Header}}", "11"),
        ("{{.Request.Cookies}}", "[a=1 b=\"two words\" c=3]"),
        ("{{(.Request.Cookie `b`).Value}}", "two words"),
        ("{{range .Request.Cookies}}{{.Name}},{{end}}", "a,b,c,"),
        ("{{.Request.FormValue `y`}}|{{.Request.PostFormValue `y`}}", "a b|"),
        ("{{.Request.Form}}{{.Request.Trailer}}", "map[]map[]"),
        ("{{if .Request.TLS}}tls{{else}}plain{{end}}", "plain"),
        (
            "{{.Response.Code}} {{.Response.Size}} {{.Response.Latency}}",
            "201 53 0.001287266",
        ),
        ("{{printf \"%.1fms\" .Response.Latency}}", "0.0ms"),
        (
            "{{if ge .Response.Code 400}}bad{{else if lt .Response.Latency 1.0}}fast{{end}}",
            "fast",
        ),
        ("{{.Response}}", "{201 53 0.001287266}"),
        ("{{.Revision}}", "{rev ns svc cfg pod 10.1.2.3}"),
        (
            "{{.Revision.Name}}/{{.Revision.Namespace}}/{{.Revision.Service}}/{{.Revision.Configuration}}/{{.Revision.PodName}}/{{.Revision.PodIP}}",
            "rev/ns/svc/cfg/pod/10.1.2.3",
        ),
        ("{{.TraceID}}", "4bf92f3577b34da6a3ce929d0e0e4736"),
        (
            "{{printf \"%T %T %T\" .Request.Header .Request.ContentLength .Response.Code}}",
            "http.Header int64 int",
        ),
        (
            "{{printf \"%T\" .Request.URL}} {{printf \"%s\" .Request.URL}}",
            "*url.URL /a%2Fb/(c)?x=1&y=a+b&x=2&bad=%zz",
        ),
    ] {
        assert_eq!(run(template, &head).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn what_go_would_not_find_fails() {
    let head = sample();
    for template in [
        "{{.Nothing}}",
        "{{.Request.Nothing}}",
        "{{.Request.Header.Get}}",
        "{{.Request.Header.Get 1}}",
        "{{.Request.Header.Set `a` `b`}}",
        "{{.Request.Cookie `none`}}",
        "{{.Request.BasicAuth}}",
        "{{.Request.URL.User.Username}}",
        "{{.Request.TLS.Version}}",
        "{{.Response.Code.Text}}",
        "{{index .Request.Header 1}}",
        "{{eq .Response.Latency 1}}",
    ] {
        assert!(run(template, &head).is_err(), "{template}");
    }
}

#[test]
fn every_kind_of_target_is_shown_as_it_came() {
    use http::Version;
    for (target, version, uri, url, host) in [
        ("/", Version::HTTP_11, "/", "/", "h"),
        ("//a//b?", Version::HTTP_11, "//a//b?", "//a//b?", "h"),
        ("/a%20b;c=1", Version::HTTP_11, "/a%20b;c=1", "/a%20b;c=1", "h"),
        ("/%e4", Version::HTTP_11, "/%e4", "/%e4", "h"),
        ("*", Version::HTTP_11, "*", "*", "h"),
        (
            "http://t:81/x?y",
            Version::HTTP_11,
            "http://t:81/x?y",
            "http://t:81/x?y",
            "t:81",
        ),
        ("http://t:81/x?y", Version::HTTP_2, "/x?y", "/x?y", "t:81"),
    ] {
        let head = head(target, version, &[("host", "h")], true);
        let template = "{{.Request.RequestURI}} {{.Request.URL}} {{.Request.Host}}";
        let expected = format!("{uri} {url} {host}");
        assert_eq!(run(template, &head).as_deref(), Ok(&expected[..]), "{target}");
    }
}

#[test]
fn trace_ids_come_from_traceparent_then_from_b3() {
    for (pairs, expected) in [
        (&[("traceparent", "00-abc-def-01"), ("x-b3-traceid", "b3")][..], "abc"),
        (&[("traceparent", "x-any thing"), ("x-b3-traceid", "b3")], "any thing"),
        (&[("traceparent", "nodash"), ("x-b3-traceid", "b3")], "b3"),
        (&[("x-b3-traceid", "b3")], "b3"),
        (&[], ""),
    ] {
        let head = head("/", http::Version::HTTP_11, pairs, true);
        assert_eq!(run("{{.TraceID}}", &head).as_deref(), Ok(expected));
    }
}

#[test]
fn chunks_probes_and_cookie_crumbs() {
    let chunked = head(
        "/",
        http::Version::HTTP_2,
        &[("cookie", "a=1"), ("cookie", "b=2")],
        true,
    );
    assert_eq!(
        run("{{index .Request.Header `Cookie`}}", &chunked).as_deref(),
        Ok("[a=1; b=2]")
    );
    let untouched = [("k-original-host", "o"), ("x-forwarded-for", "1.1.1.1")];
    let probe = head("/", http::Version::HTTP_11, &untouched, false);
    let template = "{{.Request.Header.Get `K-Original-Host`}}|{{.Request.Header.Get `Forwarded`}}";
    assert_eq!(run(template, &probe).as_deref(), Ok("o|"));
    let old = head("/", http::Version::HTTP_10, &[("connection", "keep-alive")], true);
    assert_eq!(
        run("{{.Request.Proto}} {{.Request.Close}}", &old).as_deref(),
        Ok("HTTP/1.0 false")
    );
}

#[test]
fn the_default_template_is_json_with_every_field() {
    let line = run(DEFAULT_TEMPLATE, &sample()).expect("it executes");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(
        line,
        serde_json::json!({"httpRequest": {
            "requestMethod": "POST", "requestUrl": "/a%2Fb/(c)?x=1&y=a+b&x=2&bad=%zz", "requestSize": "5",
            "status": 201, "responseSize": "53", "userAgent": "curl/8.0 \"x\"", "remoteIp": "10.0.0.9:4711",
            "serverIp": "10.1.2.3", "referer": "http://r/?a=b", "latency": "0.001287266s", "protocol": "HTTP/1.1"},
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736"})
    );
}

#[test]
fn the_line_of_a_failing_template_is_knatives() {
    let (head, revision) = (head("/echo", http::Version::HTTP_11, &[], true), revision());
    let answer = Answer {
        code: 200,
        size: 0,
        latency: Duration::from_nanos(2_083_147),
    };
    let input = Input {
        head: &head,
        answer,
        revision: &revision,
    };
    assert_eq!(
        input.fallback(),
        "Invalid request log template: method: POST, response code: 200, latency: 0.002083147, url: /echo\n"
    );
}

proptest! {
    /// Whatever a client sends, every part of it can be looked at.
    #[test]
    fn any_request_can_be_shown(
        target in "/[!-~]{0,40}",
        cookie in proptest::collection::vec(any::<u8>(), 0..40),
        trace in "[ -~]{0,40}",
        version in 0..3usize,
    ) {
        const EVERYTHING: &str = "{{.Request}}{{.Request.URL}}{{.Request.URL.Path}}{{.Request.URL.Query}}\
            {{.Request.URL.Query.Encode}}{{.Request.URL.Hostname}}{{.Request.URL.Port}}{{.Request.Cookies}}\
            {{.Request.Header}}{{.Request.RequestURI}}{{.Request.FormValue `a`}}{{.Request.Trailer}}{{.TraceID}}";
        let (Ok(uri), Ok(cookie)) = (target.parse::<Uri>(), http::HeaderValue::from_bytes(&cookie)) else {
            return Ok(());
        };
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.uri_mut() = uri;
        *request.version_mut() = [http::Version::HTTP_10, http::Version::HTTP_11, http::Version::HTTP_2][version];
        let headers = request.headers_mut();
        headers.insert("cookie", cookie.clone());
        headers.append("cookie", cookie.clone());
        headers.insert("trailer", cookie);
        headers.insert("traceparent", trace.parse().expect("printable"));
        let mut head = Head::of(&request, Peer { address: ([127, 0, 0, 1], 1).into(), tls: true });
        head.finish(true);
        for template in [EVERYTHING, DEFAULT_TEMPLATE] {
            prop_assert!(run(template, &head).is_ok());
        }
    }
}
