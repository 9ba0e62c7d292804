//! The database of organizations and licences: SQLite by default, PostgreSQL by URL.

use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Error};

const CONNECTIONS: u32 = 5;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 5;

/// Opens the database, and makes its tables and its initial rows where they are missing.
///
/// `sqlite::memory:` is a database of its own for each call; `sqlite:FILE?mode=rwc` and `postgres://…` are shared by all that name them.
pub async fn open(url: &str) -> Result<AnyPool, Error> {
    sqlx::any::install_default_drivers();
    // SQLite writes one at a time anyway, and a database in memory lives as long as its one connection.
    let connections = if url.starts_with("sqlite") { 1 } else { CONNECTIONS };
    let options = AnyPoolOptions::new().max_connections(connections).min_connections(1);
    let options = options.acquire_timeout(ACQUIRE_TIMEOUT).idle_timeout(None).max_lifetime(None);
    let pool = options.connect(url).await?;
    let mut attempt = 1;
    while let Err(error) = prepare(&pool).await {
        // Services that start at the same time may make the same table.
        if attempt == ATTEMPTS {
            return Err(error);
        }
        attempt += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(pool)
}

async fn prepare(pool: &AnyPool) -> Result<(), Error> {
    sqlx::raw_sql(include_str!("schema.sql")).execute(pool).await?;
    let mut transaction = pool.begin().await?;
    let first = sqlx::query("INSERT INTO seeded (seed) VALUES (1) ON CONFLICT DO NOTHING");
    if first.execute(&mut *transaction).await?.rows_affected() == 1 {
        sqlx::raw_sql(include_str!("seed.sql")).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn initial_rows_come_once() {
        let folder = std::env::temp_dir().join(format!("example-database-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.join("ostock.db").display());
        let pool = open(&url).await.unwrap();
        sqlx::query("DELETE FROM licenses").execute(&pool).await.unwrap();
        pool.close().await;
        let pool = open(&url).await.unwrap();
        let licenses: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM licenses").fetch_one(&pool).await.unwrap();
        let organizations: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM organizations").fetch_one(&pool).await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((organizations, licenses), (3, 0));
    }

    #[tokio::test]
    async fn databases_in_memory_are_apart() {
        let (one, other) = (open("sqlite::memory:").await.unwrap(), open("sqlite::memory:").await.unwrap());
        sqlx::query("DELETE FROM licenses").execute(&one).await.unwrap();
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM licenses").fetch_one(&other).await.unwrap();
        assert_eq!(count, 2);
    }
}
