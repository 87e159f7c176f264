//! Both serializers of the protocol: versions, refs, and whole transcripts.

use metrics_server_testing::TestServer;
use serde_json::json;

use super::{V1, V2, check};

#[tokio::test]
async fn a_heartbeat_is_answered() {
    check(
        V2,
        r#"
        > [null,"1","phoenix","heartbeat",{}]
        < [null,"1","phoenix","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
    check(
        V1,
        r#"
        > {"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}
        < {"topic":"phoenix","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_session_in_the_second_serializer() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"KEY","identifier":"intro"}]
        < ["1","1","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","2","session:a","event",{"name":"play","from":0}]
        < ["1","2","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","3","session:a","event",{"name":"pause","to":2.5}]
        < ["1","3","session:a","phx_reply",{"status":"ok","response":{}}]
        > ["1","4","session:a","phx_leave",{}]
        < ["1","4","session:a","phx_reply",{"status":"ok","response":{}}]
        < ["1","1","session:a","phx_close",{}]
        > ["1","5","session:a","event",{"name":"play","from":0}]
        < [null,"5","session:a","phx_reply",{"status":"error","response":{"reason":"unmatched topic","code":"unmatched_topic"}}]
        "#,
    )
    .await;
}

#[tokio::test]
async fn a_session_in_the_first_serializer() {
    check(
        V1,
        r#"
        > {"topic":"session:a","event":"phx_join","payload":{"key":"KEY","identifier":"intro"},"ref":"1"}
        < {"topic":"session:a","event":"phx_reply","ref":"1","payload":{"status":"ok","response":{}}}
        > {"topic":"session:a","event":"event","payload":{"name":"play","from":"0.00"},"ref":"2"}
        < {"topic":"session:a","event":"phx_reply","ref":"2","payload":{"status":"ok","response":{}}}
        > {"topic":"session:a","event":"event","payload":{"name":"pause","to":"x"},"ref":"3","join_ref":"1"}
        < {"topic":"session:a","event":"phx_reply","ref":"3","payload":{"status":"error","response":{"reason":"`to` must be a number of seconds, 0 or more","code":"invalid_position"}}}
        > {"topic":"session:a","event":"phx_leave","payload":{},"ref":"4"}
        < {"topic":"session:a","event":"phx_reply","ref":"4","payload":{"status":"ok","response":{}}}
        < {"topic":"session:a","event":"phx_close","ref":"1","payload":{}}
        "#,
    )
    .await;
}

#[tokio::test]
async fn versions_select_the_serializer() {
    let server = TestServer::new().await;
    for vsn in ["", "vsn=1.0.0", "vsn=1", "source_url=http%3A%2F%2Fa%2F&vsn=1.0.0"] {
        let mut client = server.connect_to(vsn).await;
        client.send_text(r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}"#).await;
        assert!(client.message().await.is_object(), "{vsn}");
    }
    for vsn in ["vsn=2.0.0", "vsn=2.1.0", "vsn=2", "key=a%2Bb%2Fc%3D%3D&vsn=2.0.0"] {
        let mut client = server.connect_to(vsn).await;
        client.send_text(r#"[null,"1","phoenix","heartbeat",{}]"#).await;
        assert!(client.message().await.is_array(), "{vsn}");
    }
}

#[tokio::test]
async fn an_unknown_version_is_forbidden() {
    let server = TestServer::new().await;
    for vsn in ["vsn=3.0.0", "vsn=0.1.0", "vsn=garbage", "vsn=", "vsn=2.0.0%27%3B--"] {
        let Err(answer) = server.upgrade(vsn, &[]).await else { panic!("{vsn} was accepted") };
        assert_eq!(answer.status, 403, "{vsn}");
        assert!(answer.error().contains("vsn"), "{}", answer.error());
    }
}

#[tokio::test]
async fn refs_go_back_byte_for_byte() {
    let server = TestServer::new().await;
    let mut client = server.connect().await;
    let refs =
        [r#""1""#, r#""caf\u00e9 \"""#, "7", "-1", "1.50", "1e3", "18446744073709551616", "null"];
    for (index, sent) in refs.into_iter().enumerate() {
        client.send_text(&format!(r#"[null,{sent},"phoenix","heartbeat",{{}}]"#)).await;
        let expected = format!(r#"[null,{sent},"phoenix","phx_reply","#);
        let text = client.text().await;
        assert!(text.starts_with(&expected), "{text}");

        let join = json!({ "key": client.key, "identifier": "intro" });
        client.send_text(&format!(r#"[{sent},5,"session:{index}","phx_join",{join}]"#)).await;
        let expected = if sent == "null" { "[5,5," } else { &format!("[{sent},5,") };
        let text = client.text().await;
        assert!(text.starts_with(expected), "{text}");
    }
}

#[tokio::test]
async fn refs_of_the_first_serializer_go_back_byte_for_byte() {
    let server = TestServer::new().await;
    let mut client = server.connect_to(V1).await;
    for sent in ["\"1\"", "7", "null", "1.50"] {
        let heartbeat = r#""topic":"phoenix","event":"heartbeat","payload":{}"#;
        client.send_text(&format!(r#"{{{heartbeat},"ref":{sent}}}"#)).await;
        let text = client.text().await;
        assert!(text.contains(&format!("\"ref\":{sent},")), "{text}");
    }
}

#[tokio::test]
async fn a_sixth_element_is_ignored() {
    check(
        V2,
        r#"
        > ["1","1","session:a","phx_join",{"key":"KEY","identifier":"intro"},{"more":[1]}]
        < ["1","1","session:a","phx_reply",{"status":"ok","response":{}}]
        > [1,2,"session:a","event",{"name":"play","from":0},null]
        < ["1",2,"session:a","phx_reply",{"status":"ok","response":{}}]
        "#,
    )
    .await;
}
