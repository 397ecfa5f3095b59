package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"cofferdam/door/telemetry"
	"cofferdam/numbers"
	"cofferdam/sdk"
	"cofferdam/wire"
)

// telemetryMain is cmd/cofferdam-telemetry, which is the same but for its name.
func telemetryMain() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := telemetry.Main(ctx, os.Getenv, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// scraper is "scraper URL|SOCKET [HOST]": it asks for metrics as Prometheus does, holds what
// comes against the grammar and the table, and prints each value.
func scraper() {
	url, transport := os.Args[1], &http.Transport{}
	if path := os.Args[1]; filepath.IsAbs(path) {
		url = "http://localhost/metrics"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		fail(err)
	}
	if len(os.Args) > 2 {
		req.Host = os.Args[2]
	}
	resp, err := (&http.Client{Transport: transport, Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		fail(fmt.Errorf("%s: %s", resp.Status, body))
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		fail(err)
	}
	for name, family := range families {
		i := slices.IndexFunc(numbers.Metrics(), func(m numbers.Metric) bool { return m.Name == name })
		if i < 0 {
			fail(fmt.Errorf("%s is not in the table", name))
		}
		if want := strings.ToUpper(string(numbers.Metrics()[i].Kind)); family.GetType().String() != want {
			fail(fmt.Errorf("%s is a %s, want a %s", name, family.GetType(), want))
		}
		if _, err := expfmt.MetricFamilyToText(os.Stdout, family); err != nil {
			fail(err)
		}
	}
}

// tattler takes the place of the program that shows metrics, and tries what that must not
// be able to do. It prints what came of each.
func tattler() {
	say := func(what string, got any) { fmt.Fprintf(os.Stderr, "%s: %v\n", what, got) }
	f := os.NewFile(3, "feed")
	feed, err := net.FileConn(f)
	if err != nil {
		say("feed", err)
		os.Exit(1)
	}
	// Whatever is asked, in whatever words: an answer to each byte, and numbers to one.
	answers := bufio.NewReaderSize(feed, 1<<20)
	for _, asked := range []string{`{"op":"stop"}` + "\n", "n", string(wire.AppendFrame(nil, &wire.Frame{Header: wire.Header{Op: wire.OpCall, ID: 1}, NameBytes: []byte("back.price")}))} {
		kinds := make(map[string]int)
		for _, b := range []byte(asked) {
			if _, err := feed.Write([]byte{b}); err != nil {
				say("feed", err)
				break
			}
			line, err := answers.ReadBytes('\n')
			var s numbers.Snapshot
			switch {
			case err != nil:
				kinds["error"]++
			case string(line) == "null\n":
				kinds["nothing"]++
			case json.Unmarshal(line, &s) == nil && len(s.Services) > 0:
				kinds["numbers"]++
			default:
				kinds["else"]++
			}
		}
		say(fmt.Sprintf("asked %d bytes", len(asked)), kinds)
	}
	// A descriptor sent along reaches nobody.
	if _, _, err = feed.(*net.UnixConn).WriteMsgUnix([]byte("n"), syscall.UnixRights(2), nil); err == nil {
		_, err = answers.ReadBytes('\n')
	}
	say("a descriptor", err)
	c, err := sdk.Connect(context.Background())
	if err == nil {
		_, err = c.Call(context.Background(), "back.price", nil)
	}
	say("call", errors.Is(err, sdk.ErrDenied))
	_, err = net.DialTimeout("tcp", "9.9.9.9:443", time.Second)
	say("leaves", err == nil)
	_, err = os.ReadFile("/etc/shadow")
	say("reads", err == nil)
	err = os.WriteFile("/app/x", nil, 0o600)
	say("writes", err == nil)
	say("done", "")
	time.Sleep(time.Hour)
}
