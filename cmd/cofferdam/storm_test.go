package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"cofferdam/sdk"
	"cofferdam/supervisor"
)

// stormEnv is how many requests TestStorm makes.
const stormEnv = "COFFERDAM_TEST_STORM"

const stormManifest = `version: 1
name: killed
allow_degraded: [cgroup, landlock, disk-quota]
gateway:
  listen: 127.0.0.1:%d
  routes: [{path: '/.*', to: web}]
  limits: {timeout: 30s}
services:
  web:
    command: [/app/stormy, web]
    files: [{from: stormy, to: /app/stormy}]
    http: 8081
    uses: [{call: bank.put}, {call: bank.add}, {call: bank.has}, {call: bank.hang}, {call: bank.all}]
    healthcheck: {http: /well, interval: 100ms, start_interval: 50ms, timeout: 300ms, retries: 2}
    restart: {intensity: 1000, backoff: 1ms, backoff_max: 10ms}
    stop_grace_period: 100ms
  bank:
    command: [/app/stormy, bank]
    files: [{from: stormy, to: /app/stormy}]
    volumes: [{name: bank, to: /data, size: 16M}]
    provides:
      - {call: put, deadline: 500ms}
      - {call: add, deadline: 500ms, idempotent: true}
      - {call: has, deadline: 500ms, idempotent: true}
      - {call: all, deadline: 5s, idempotent: true}
      - {call: hang, deadline: 500ms}
    restart: {intensity: 1000, backoff: 1ms, backoff_max: 10ms}
    stop_grace_period: 100ms
`

// stormy is both services of the storm.
func stormy() {
	c, err := sdk.Connect(context.Background())
	if err == nil && os.Args[1] == "bank" {
		err = stormyBank(c)
	} else if err == nil {
		err = stormyWeb(c)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// stormyBank writes down each number that it is given, once for each time that it
// was asked to by put, and once by add. What it has answered is on the disk.
func stormyBank(c *sdk.Client) error {
	f, err := os.OpenFile("/data/ledger", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1] // a line without an end was never answered
	if err := f.Truncate(int64(len(text))); err != nil {
		return err
	}
	var mu sync.Mutex
	there := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		there[strings.TrimSpace(line)] = true
	}
	write := func(id string) error {
		if _, err := f.WriteString(id + "\n"); err != nil {
			return err
		}
		text, there[id] = append(text, id+"\n"...), true
		return f.Sync()
	}
	if _, err := f.Seek(int64(len(text)), io.SeekStart); err != nil {
		return err
	}
	locked := func(do func(id string) ([]byte, error)) sdk.Handler {
		return func(_ context.Context, _ sdk.Caller, id []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			return do(string(id))
		}
	}
	return c.Serve(context.Background(), map[string]sdk.Handler{
		"put": locked(func(id string) ([]byte, error) { return nil, write(id) }),
		"add": locked(func(id string) ([]byte, error) {
			if there[id] {
				return nil, nil
			}
			return nil, write(id)
		}),
		"has":  locked(func(id string) ([]byte, error) { return strconv.AppendBool(nil, there[id]), nil }),
		"all":  locked(func(string) ([]byte, error) { return bytes.Clone(text), nil }),
		"hang": locked(func(string) ([]byte, error) { select {} }),
	})
}

// stormyWeb calls the method that the path names.
func stormyWeb(c *sdk.Client) error {
	var hung sync.RWMutex
	return http.ListenAndServe("127.0.0.1:8081", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stuck" {
			hung.Lock() // for ever
		}
		hung.RLock()
		defer hung.RUnlock()
		switch r.URL.Path {
		case "/well":
			return
		case "/endless":
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}
		out, err := c.Call(r.Context(), "bank"+strings.Replace(r.URL.Path, "/", ".", 1), []byte(r.URL.RawQuery))
		switch {
		case err == nil:
			w.Write(out)
		case errors.Is(err, sdk.ErrUnavailable), errors.Is(err, sdk.ErrBusy):
			w.Header().Set("Done", "no")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
		default:
			w.Header().Set("Done", "maybe")
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprintln(w, err)
		}
	}))
}

// outcome is what a client was told of its request.
type outcome string

const (
	done    outcome = "done"
	maybe   outcome = "maybe done"
	away    outcome = "away" // asked while the whole was killed and started
	not     outcome = "not done"
	nothing outcome = "no answer"
)

// storm is what clients have asked for and were told.
type storm struct {
	*victim
	client http.Client
	down   atomic.Bool // the trusted process is being killed: its clients see that

	mu    sync.Mutex
	told  map[string]outcome // by number
	count map[string]map[outcome]int
	took  map[string][]time.Duration
}

// ask makes one request and notes what became of it.
func (s *storm) ask(method, path, id string) {
	began := time.Now()
	mayFail := s.down.Load()
	got, why := nothing, ""
	req, err := http.NewRequest(method, s.url+path+"?"+id, nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	res, err := s.client.Do(req)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(res.Body)
		res.Body.Close()
		said := res.Header.Get("Done") + res.Header.Get("Cofferdam-Done")
		switch {
		case err != nil: // it has ended within
		case res.StatusCode == http.StatusOK:
			got = done
			if path == "/has" && string(body) != "false" {
				s.t.Errorf("GET %s says %q, of a number that nobody gave it", path, body)
			}
		case said == "no":
			got = not
		case said == "maybe":
			got = maybe
		default:
			s.t.Errorf("%s %s: %s without a word on whether it was done: %s", method, path, res.Status, body)
		}
	}
	if err != nil {
		why = err.Error()
	}
	if got == nothing && (mayFail || s.down.Load()) {
		got = away
		time.Sleep(20 * time.Millisecond)
	}
	if got == nothing {
		s.t.Errorf("%s %s has no answer: %s", method, path, why)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if path != "/has" {
		s.told[id] = got
	}
	kind := method + " " + path
	if s.count[kind] == nil {
		s.count[kind] = map[outcome]int{}
	}
	s.count[kind][got]++
	s.took[kind] = append(s.took[kind], time.Since(began))
}

// programs are the pids of what runs of a service.
func (s *storm) programs(service string) []int {
	out, err := s.command("ps", "--format", "json").Output()
	if err != nil {
		return nil
	}
	var all []supervisor.Status
	if json.Unmarshal(out, &all) != nil {
		return nil
	}
	for _, st := range all {
		if st.Service == service && st.Pid != 0 {
			return children(st.Pid)
		}
	}
	return nil
}

// harm does something to an instance of one of the services.
func (s *storm) harm(random *rand.Rand) string {
	service := []string{"web", "bank"}[random.IntN(2)]
	how := []string{"kill", "kill", "stop", "hang", "restart"}[random.IntN(5)]
	if how == "restart" { // rolling; what it meets may be killed, or hang
		s.command("restart", "--timeout", "10s", service).Run()
		return how + " " + service
	}
	if how == "hang" {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", s.url+map[string]string{"web": "/stuck", "bank": "/hang"}[service], nil)
		if err != nil {
			s.t.Error(err)
			return ""
		}
		if res, err := s.client.Do(req); err == nil {
			res.Body.Close()
		}
		return how + " " + service
	}
	pids := s.programs(service)
	if len(pids) == 0 {
		return "nobody"
	}
	sig := syscall.SIGKILL
	if how == "stop" {
		sig = syscall.SIGSTOP
	}
	for _, pid := range pids {
		syscall.Kill(pid, sig)
	}
	return how + " " + service
}

// While instances are killed, stopped, hung and replaced in order, at random, and at the end the whole application is
// killed and started again, every request has an answer, what was said to be
// done is done once, and what was said not to be is not.
func TestStorm(t *testing.T) {
	requests, seed := howOften(t, stormEnv, 1000, 300)
	s := &storm{
		victim: newVictimOf(t, seed, stormManifest, "stormy"),
		client: http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		told:   map[string]outcome{}, count: map[string]map[outcome]int{}, took: map[string][]time.Duration{},
	}
	s.start()
	s.awaitAnswerOf("/has?0")

	// Harm is done on and on, as often as makes a storm of that many requests, and however quick these
	// are. Then the whole is killed, and a fifth of the requests is still to come.
	var asked, times atomic.Int64
	var over atomic.Bool
	calm, harmed := make(chan struct{}), make(chan map[string]int)
	go func() {
		random, harms := rand.New(rand.NewPCG(seed, 1)), map[string]int{}
		defer func() { harmed <- harms }()
		for {
			select {
			case <-calm:
				return
			case <-time.After(time.Duration(20+random.IntN(200)) * time.Millisecond):
				harms[s.harm(random)]++
				times.Add(1)
			}
		}
	}()
	began := time.Now()
	var clients sync.WaitGroup
	for n := range 32 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(2+n)))
			for !over.Load() {
				id := asked.Add(1)
				switch random.IntN(3) {
				case 0:
					s.ask("GET", "/has", "none")
				case 1:
					s.ask("POST", "/put", fmt.Sprint(id))
				default:
					s.ask("POST", "/add", fmt.Sprint(id))
				}
			}
		})
	}
	await := func(n *atomic.Int64, least int64) {
		for n.Load() < least {
			time.Sleep(5 * time.Millisecond)
		}
	}
	await(&times, int64(requests/100))
	await(&asked, int64(requests*4/5))
	before := asked.Load()
	close(calm)
	harms := <-harmed
	s.down.Store(true)
	s.end(syscall.SIGKILL)
	s.start()
	s.awaitAnswerOf("/has?0")
	s.down.Store(false)
	await(&asked, max(before+int64(requests/5), int64(requests)))
	over.Store(true)
	clients.Wait()
	took := time.Since(began)

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	written := map[string]int{}
	for line := range strings.FieldsSeq(s.get(ctx, "/all")) {
		written[line]++
	}
	lost, twice, wrong := 0, 0, 0
	for id, got := range s.told {
		switch n := written[id]; {
		case got == done && n == 0:
			lost++
		case n > 1:
			twice++
		case got == not && n > 0:
			wrong++
		}
	}
	if lost+twice+wrong > 0 {
		t.Errorf("%d lost, %d done twice, %d done though it was said that they were not", lost, twice, wrong)
	}
	t.Logf("%d requests of 32 clients in %v, of which %v", asked.Load(), took.Round(time.Millisecond), harms)
	for _, kind := range []string{"GET /has", "POST /put", "POST /add"} {
		all := s.took[kind]
		slices.Sort(all)
		if len(all) == 0 {
			continue
		}
		t.Logf("%-9s %5d: %v; median %v, 99th percentile %v, longest %v", kind, len(all), s.count[kind],
			all[len(all)/2].Round(10*time.Microsecond), all[len(all)*99/100].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
	}
	t.Logf("%d lost, %d done twice, %d wrongly said not to be done, %d on the ledger", lost, twice, wrong, len(written))
	if n := s.count["POST /put"][done] + s.count["POST /add"][done]; n == 0 || len(harms) < 2 {
		t.Errorf("%d were done, among %v: that is no storm", n, harms)
	}
	s.end(syscall.SIGTERM)
	if s.logIsTorn() {
		t.Error("the log is torn after an orderly end")
	}
}

// awaitAnswerOf waits until a path is answered.
func (v *victim) awaitAnswerOf(path string) {
	v.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		got := v.get(ctx, path)
		cancel()
		if got != "" {
			return
		}
		if time.Now().After(end) {
			v.t.Fatalf("it does not answer\n%s", v.stderr.String())
		}
	}
}

const silentManifest = `version: 1
name: killed
allow_degraded: [cgroup, landlock, disk-quota]
gateway:
  listen: 127.0.0.1:%d
  routes: [{path: '/.*', to: web}]
  limits: {timeout: 10s, answer: 500ms}
services:
  web:
    command: [/app/stormy, web]
    files: [{from: stormy, to: /app/stormy}]
    http: 8081
`

// A service that does not answer over HTTP any more is replaced without any check; one whose
// clients neither finish what they send nor read what they are sent is not.
func TestSilentOverHTTP(t *testing.T) {
	v := newVictimOf(t, 1, silentManifest, "stormy")
	v.start()
	status := func(method, path string) int {
		req, err := http.NewRequest(method, v.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		res.Body.Close()
		return res.StatusCode
	}
	for end := time.Now().Add(60 * time.Second); status("GET", "/well") != http.StatusOK; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not answer\n%s", v.stderr.String())
		}
	}
	web := func() supervisor.Status {
		out, err := v.command("ps", "--format", "json").Output()
		var all []supervisor.Status
		if err == nil {
			err = json.Unmarshal(out, &all)
		}
		for _, st := range all {
			if st.Service == "web" {
				return st
			}
		}
		t.Fatalf("ps: %s, %v", out, err)
		return supervisor.Status{}
	}
	// Clients that keep their requests and its answers from coming to an end.
	for _, raw := range []string{
		"POST /well HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 100_000),
		"POST /well HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\nx",
		"GET /well HTTP/1.1\r\nHost: a\r\n",
		"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(v.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, raw)
	}
	time.Sleep(1500 * time.Millisecond)
	if st := web(); st.Restarts != 0 {
		t.Errorf("it was replaced for what its clients did: %+v", st)
	}
	if got := status("POST", "/stuck"); got != http.StatusGatewayTimeout {
		t.Errorf("who asks it to hang gets %d", got)
	}
	// The next one may still reach the one that is being ended, and be told that it may be done.
	for end := time.Now().Add(60 * time.Second); web().Restarts == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is not replaced: %+v", web())
		}
	}
	if got := status("POST", "/well"); got != http.StatusOK {
		t.Errorf("the next one gets %d", got)
	}
	st := web()
	if st.Restarts != 1 || st.LastExit == nil || !strings.Contains(st.LastExit.Detail, "unresponsive: a request to port 8081 was not answered within ") {
		t.Errorf("then it is %+v, after %+v", st, st.LastExit)
	}
	v.end(syscall.SIGTERM)
}
