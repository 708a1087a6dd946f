//! Any request that HTTP lets through, shown by a template that looks at every part of it: it always can be.
#![no_main]

use std::{rc::Rc, sync::LazyLock, time::Duration};

use arbitrary::Arbitrary;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};
use libfuzzer_sys::fuzz_target;
use xdt_gotemplate::{Template, Value};
use xdt_queue_proxy::{
    net::Peer,
    requestlog::{
        DEFAULT_TEMPLATE,
        data::{Answer, Head, Input, Revision},
    },
};

const PARTS: &str = "{{.}}{{.Request}}{{.Request.URL}}{{.Request.URL.Query}}{{.Request.URL.Query.Encode}}\
    {{.Request.URL.Hostname}}{{.Request.URL.Port}}{{.Request.Cookies}}{{.Request.Header}}{{.Request.RequestURI}}\
    {{.Request.FormValue `a`}}{{.Request.Trailer}}{{range $k, $v := .Request.Header}}{{js $k $v}}{{end}}{{.TraceID}}";

static TEMPLATES: LazyLock<[Template; 2]> =
    LazyLock::new(|| [PARTS, DEFAULT_TEMPLATE].map(|text| Template::parse("fuzz", text).expect("a good template")));

#[derive(Debug, Arbitrary)]
struct Sent {
    target: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    cookie: Vec<u8>,
    version: u8,
    connect: bool,
    passed_on: bool,
}

fuzz_target!(|input: Sent| {
    let Ok(uri) = Uri::try_from(input.target) else { return };
    let mut request = Request::new(String::new());
    *request.uri_mut() = uri;
    *request.version_mut() = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2][usize::from(input.version % 3)];
    if input.connect {
        *request.method_mut() = Method::CONNECT;
    }
    let cookie = (b"cookie".to_vec(), input.cookie);
    for (name, value) in input.headers.into_iter().take(50).chain([cookie]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_bytes(&value)) {
            request.headers_mut().append(name, value);
        }
    }
    let mut head = Head::of(
        &request,
        Peer {
            address: ([10, 0, 0, 1], 1).into(),
            tls: true,
        },
    );
    head.finish(input.passed_on);
    let answer = Answer {
        code: 200,
        size: 1,
        latency: Duration::from_millis(1),
    };
    let revision = Revision::default();
    for template in &*TEMPLATES {
        let input = Input {
            head: &head,
            answer,
            revision: &revision,
        };
        let data = Value::Struct(Rc::new(input));
        template.execute(&data, &mut Vec::new()).expect("it can be shown");
        let _line = input.fallback();
    }
});
