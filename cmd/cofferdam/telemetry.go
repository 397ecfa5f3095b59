package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// telemetryEnv is the program that shows numbers, if it is not beside this one.
const telemetryEnv = "COFFERDAM_TELEMETRY_PROGRAM"

// telemetryOf is the door that shows the numbers of app. Its program is another one than
// this: see docs/RATIONALE.md. What is there of it here is its configuration,
// door/telemetry.Config in its own words.
func telemetryOf(app *manifest.App, self string) (supervisor.Door, error) {
	if !supervisor.NeedsTelemetry(app) {
		return supervisor.Door{}, nil
	}
	program := os.Getenv(telemetryEnv)
	if program == "" {
		program = filepath.Join(filepath.Dir(self), "cofferdam-telemetry")
	}
	runtime, err := runtimeFor(program)
	if errors.Is(err, os.ErrNotExist) {
		return supervisor.Door{}, fmt.Errorf("metrics, traces: the program that shows them is not there: %s; install it beside this one, or name it in $%s", program, telemetryEnv)
	}
	if err != nil {
		return supervisor.Door{}, fmt.Errorf("telemetry: %w", err)
	}
	told := map[string]any{"app": app.Name, "metrics": app.Metrics != nil}
	if app.Traces != nil {
		told["http"] = supervisor.NeedsDoor(app)
		told["traces"] = map[string]string{"to": app.Traces.To.String(), "at": supervisor.TracesAddress(app).String()}
	}
	config, err := json.Marshal(told)
	if err != nil {
		return supervisor.Door{}, fmt.Errorf("telemetry: %w", err)
	}
	return supervisor.Door{Program: program, Runtime: runtime, Env: []string{"COFFERDAM_TELEMETRY=" + string(config)}}, nil
}

// metricsSocket is where numbers are shown that are shown on a socket.
func metricsSocket(dirs supervisor.Dirs) string { return filepath.Join(dirs.Runtime, "metrics") }

// listenMetrics opens the socket on which numbers are shown, and says how to ask there.
func listenMetrics(app *manifest.App, dirs supervisor.Dirs) (f *os.File, shown string, err error) {
	switch {
	case app.Metrics == nil:
		return nil, "", nil
	case app.Metrics.Listen == manifest.Socket:
		path := metricsSocket(dirs)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of one that was killed
			return nil, "", fmt.Errorf("metrics.listen: %w", err)
		}
		l, err := listenOwned(path)
		if err != nil {
			return nil, "", fmt.Errorf("metrics.listen: %w", err)
		}
		defer l.Close()
		f, err = l.File()
		return f, "curl --unix-socket " + path + " http://localhost/metrics", err
	}
	l, err := net.Listen("tcp", app.Metrics.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, "", fmt.Errorf("metrics.listen %s: another program listens there; stop it or change the address", app.Metrics.Listen)
	}
	if err != nil {
		return nil, "", fmt.Errorf("metrics.listen: %w", err)
	}
	defer l.Close()
	f, err = l.(*net.TCPListener).File()
	return f, "http://" + l.Addr().String() + "/metrics", err
}
