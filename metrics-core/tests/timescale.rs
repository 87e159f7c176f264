//! The conformance suite on TimescaleDB and on plain PostgreSQL, a database per case; then what only a server can do.

#![cfg(feature = "timescale")]

use metrics_core::store::TimescaleStore;

mod timescale {
    metrics_core::store_conformance!(super::empty_store("METRICS_TEST_TIMESCALE_URL"));
}

mod postgres {
    metrics_core::store_conformance!(super::empty_store("METRICS_TEST_POSTGRES_URL"));
}

async fn empty_store(variable: &str) -> (TimescaleStore, Db) {
    let db = Db::new(variable).await;
    (TimescaleStore::connect(&db.url).await.unwrap(), db)
}

struct Db {
    admin: String,
    name: String,
    url: String,
}

impl Db {
    async fn new(variable: &str) -> Self {
        let admin = std::env::var(variable).unwrap();
        let name = format!("metrics_test_{:016x}", rand::random::<u64>());
        admin_execute(&admin, &format!("create database {name}")).await;
        let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
        Self { admin, name, url }
    }
}

async fn admin_execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
}

impl Drop for Db {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        std::thread::spawn(move || {
            tokio::runtime::Runtime::new().unwrap().block_on(async {
                admin_execute(&admin, &format!("drop database {name} with (force)")).await;
            });
        })
        .join()
        .unwrap();
    }
}
