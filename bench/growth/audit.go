package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cofferdam/audit"
	"cofferdam/bench/own"
)

// records is a log that grows: what the next record takes, to find one, to open it again, and to verify it.
func records(_ own.Program, most int) ([]*curve, error) {
	dir, err := os.MkdirTemp("", "cofferdam-growth-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "audit.jsonl")
	append1 := &curve{Name: "growth-append", Title: "A record more", X: "records", Y: "µs", LogX: true}
	times := &curve{Name: "growth-audit", Title: "A log of decisions, by its length", X: "records", Y: "s", LogX: true, LogY: true}
	record := audit.Record{
		Kind: audit.KindDecision, Subject: "dynamic", Instance: "dynamic-1", Op: "call", Object: "bank.balance",
		Verdict: audit.Allow, Rule: "cofferdam.yaml:31", Call: 77,
	}
	written := 0
	for _, n := range upTo(most, 1_000, 10_000, 100_000, 1_000_000, 10_000_000) {
		began := time.Now()
		log, err := audit.Open(path, audit.Options{})
		if err != nil {
			return nil, err
		}
		if written > 0 {
			times.add("open it to go on", float64(written), time.Since(began).Seconds())
		}
		began = time.Now()
		for range n - written {
			if _, err := log.Append(record); err != nil {
				return nil, err
			}
		}
		if err := log.Close(); err != nil {
			return nil, err
		}
		append1.add("append, chained and signed", float64(n), time.Since(began).Seconds()*1e6/float64(n-written))
		written = n
		if err := readings(path, n, times); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	log, err := audit.Open(path, audit.Options{})
	if err != nil {
		return nil, err
	}
	times.add("open it to go on", float64(written), time.Since(began).Seconds())
	return []*curve{append1, times}, log.Close()
}

// readings is what it takes to read a log of n records.
func readings(path string, n int, times *curve) error {
	log, err := audit.OpenSegments(path)
	if err != nil {
		return err
	}
	defer log.Close()
	at := float64(n)
	began := time.Now()
	const finds = 20
	for i := range finds {
		if _, err := log.Find(uint64(1 + i*(n-1)/finds)); err != nil {
			return err
		}
	}
	times.add("why ID", at, time.Since(began).Seconds()/finds)
	began = time.Now()
	last := 0
	enough := errors.New("enough")
	if err := log.ScanBack(func(audit.Record) error {
		if last++; last == 20 {
			return enough
		}
		return nil
	}); err != enough {
		return fmt.Errorf("the last 20: %v", err)
	}
	times.add("the latest 20", at, time.Since(began).Seconds())
	began = time.Now()
	report, err := log.Verify(audit.Check{})
	if err != nil || report.Records < uint64(n) {
		return fmt.Errorf("verify: %d of %d records, %v", report.Records, n, err)
	}
	times.add("verify", at, time.Since(began).Seconds())
	return nil
}
