// Package db opens a service's own SQLite file.
//
// A transaction that was committed is on disk: a killed process or a lost host
// cannot take it back, and a full disk fails the commit that did not fit and
// nothing else. Each service has one file and one connection to it, so writers
// queue in the process instead of failing on each other's locks.
//
// Trusted: no. It runs inside the service whose data it keeps.
package db

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite": pure Go, so that the services link statically
)

// Open opens or creates the file and executes schema, which must be repeatable
// (CREATE TABLE IF NOT EXISTS).
//
// The write-ahead log with synchronous=FULL syncs once per commit; see
// https://www.sqlite.org/pragma.html#pragma_synchronous.
func Open(ctx context.Context, path, schema string) (*sql.DB, error) {
	options := url.Values{
		"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)"},
		"_txlock": {"immediate"}, // a transaction that may write says so at its start, and waits there
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("database %q: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		db.Close()
		return nil, fmt.Errorf("database %q: create tables: %w", path, err)
	}
	return db, nil
}
