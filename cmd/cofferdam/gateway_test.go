package main

import (
	"testing"

	"cofferdam/door/gateway"
	"cofferdam/manifest"
	"cofferdam/supervisor"
)

// What the gateway is told of its routes: whom to ask, and what to seal.
func TestRoutesOfGateway(t *testing.T) {
	app, err := manifest.Parse("m.yaml", []byte(`version: 1
name: web
principals: [alice]
gateway:
  listen: 127.0.0.1:0
  authenticate: {call: auth.check, cookie: id, login: /login}
  routes:
    - {path: '/mine', to: mine}
    - {path: '/secret', to: secret}
    - {path: '/alice', to: alice}
    - {path: '/login', to: front}
    - {path: '/static', to: front, request: 'True %% True', answer: 'True %% True'}
    - {path: '/members', to: front, request: 'True %% {principal}', answer: 'True %% True'}
    - {path: '/home', to: secret, nobody: front}
    - {path: '/each', to: each, request: 'True %% True', answer: 'alice %% True'}
services:
  auth: {runtime: host, command: [/bin/true], provides: [{call: check}]}
  front: {runtime: host, command: [/bin/true], http: 80}
  mine: {runtime: host, command: [/bin/true], http: 80, instances: per-principal, label: 'True %% {principal}', owns: '{principal}'}
  secret: {runtime: host, command: [/bin/true], http: 80, instances: per-principal, label: '{principal} %% {principal}'}
  alice: {runtime: host, command: [/bin/true], http: {port: 80, request: 'True %% True', answer: 'alice %% True'}}
  each: {runtime: host, command: [/bin/true], http: 80, instances: per-label, label: 'alice %% True'}
`), t.TempDir(), manifest.HostPath)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []gateway.Route{
		{Asks: true, Needs: true, Session: true},
		{Asks: true, Needs: true, Session: true, Secret: true},
		{Asks: true, Secret: true},
		{Asks: true, Session: true},
		{Session: true},
		{Asks: true, Needs: true, Session: true},
		{Asks: true, Session: true, Secret: true, Nobody: "front"},
		{Secret: true},
	} {
		r := app.Gateway.Routes[i]
		want.Number, want.Path, want.To = r.Number, r.Path, r.To
		if got := routeOf(app, r); got != want {
			t.Errorf("%s: %+v, want %+v", r.Path, got, want)
		}
	}
	if !supervisor.TellsApart(app) {
		t.Error("it says nothing on whose behalf it connects")
	}
}
