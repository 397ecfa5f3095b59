// Package telemetry says how others get to see the numbers, and the traces of calls.
//
// It is a program of its own, in an environment like any other, and has three things: the
// socket on which it is asked for metrics over HTTP, a way out to who takes spans, and a
// feed ([numbers.Feed]) on which it can ask for both, and do nothing else. So the libraries that know the formats of the world
// run where they can harm nobody; the program that decides has none of them.
//
// Trusted: no. It can show wrong numbers.
package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cofferdam/numbers"
)

// ConfigEnv is the variable that holds the [Config].
const ConfigEnv = "COFFERDAM_TELEMETRY"

// Descriptors that the program starts with.
const (
	feedFD    = 3
	metricsFD = 4 // if Metrics is set
)

// Config is what the program is told.
type Config struct {
	App     string  `json:"app"`
	Metrics bool    `json:"metrics"`          // it has a socket to be asked on
	Traces  *Traces `json:"traces,omitempty"` // nil if no spans are sent
	HTTP    bool    `json:"http,omitempty"`   // the gateway hands over those of requests
}

// Bounds of what may be asked.
const (
	maxConns       = 64
	maxRequests    = 4 // at a time
	maxHeaderBytes = 16 << 10
	patience       = 10 * time.Second
)

// Main is the program. It returns when ctx ends, or when what it sends or serves can go on no more.
func Main(ctx context.Context, getenv func(string) string, stderr io.Writer) error {
	var c Config
	if err := json.Unmarshal([]byte(getenv(ConfigEnv)), &c); err != nil {
		return fmt.Errorf("telemetry: $%s: %w", ConfigEnv, err)
	}
	nc, err := connOf(feedFD)
	if err != nil {
		return fmt.Errorf("telemetry: feed: %w", err)
	}
	defer nc.Close()
	feed := numbers.NewFeed(nc)
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	failed := make(chan error, 3)
	ended := make(chan struct{})
	if c.Traces != nil {
		s, err := newSender(ctx, *c.Traces, c.App, feed, logger)
		if err != nil {
			return err
		}
		if c.HTTP {
			go func() {
				if err := s.takeFrom(ctx); ctx.Err() == nil {
					failed <- err
				}
			}()
		}
		go func() {
			defer close(ended)
			if err := s.run(ctx); err != nil {
				failed <- err
			}
		}()
	} else {
		close(ended)
	}
	if c.Metrics {
		l, err := listenerOf(metricsFD)
		if err != nil {
			return fmt.Errorf("telemetry: metrics: %w", err)
		}
		server := &http.Server{
			Handler:           Handler(feed, logger),
			ConnState:         new(crowd).changed,
			ReadHeaderTimeout: patience, ReadTimeout: patience, WriteTimeout: 2 * patience, IdleTimeout: 2 * time.Minute,
			MaxHeaderBytes: maxHeaderBytes,
			ErrorLog:       slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		}
		defer server.Close()
		go func() { failed <- server.Serve(l) }()
	}
	select {
	case <-ctx.Done():
		<-ended
		return nil
	case err := <-failed:
		return fmt.Errorf("telemetry: %w", err)
	}
}

// Handler answers GET /metrics in the formats that Prometheus reads.
//
// The name that a request calls us by must be of this host: a page in a browser here,
// whose name somebody has made lead to 127.0.0.1, asks by that name.
func Handler(feed *numbers.Feed, logger *slog.Logger) http.Handler {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(feed))
	metrics := promhttp.HandlerFor(&fresh{from: registry}, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(logger.Handler(), slog.LevelError),
		ErrorHandling: promhttp.HTTPErrorOnError,
		Timeout:       patience,
	})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", inTurn(metrics))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocal(r.Host) {
			http.Error(w, "ask for this host by localhost or its loopback address", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// isLocal tells whether host, with or without a port, names this host to itself, or,
// over a Unix socket, nobody.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "" || host == "localhost" || host == "unix" {
		return true
	}
	addr, err := netip.ParseAddr(trimBrackets(host))
	return err == nil && addr.IsLoopback()
}

func trimBrackets(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

var errNoStream = errors.New("not a stream")

func connOf(fd uintptr) (net.Conn, error) {
	f := os.NewFile(fd, "feed")
	if f == nil {
		return nil, errNoStream
	}
	defer f.Close()
	return net.FileConn(f)
}

func listenerOf(fd uintptr) (net.Listener, error) {
	f := os.NewFile(fd, "listener")
	if f == nil {
		return nil, errNoStream
	}
	defer f.Close()
	return net.FileListener(f)
}
