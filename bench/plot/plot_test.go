package main

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestDraw draws what has each kind of bar and of line, and reads both forms back.
func TestDraw(t *testing.T) {
	dir := t.TempDir()
	if err := drawFile("testdata/results.json", dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ratios", "growth-grants"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(bytes.NewReader(text)); ; {
			_, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s.svg: %v", name, err)
			}
		}
		f, err := os.Open(filepath.Join(dir, name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if picture, err := png.Decode(f); err != nil || picture.Bounds().Dx() < 400 {
			t.Errorf("%s.png: %v", name, err)
		}
	}
}

// TestTurned: where less is better a ratio of a half is twice as fast, and its target is turned too.
func TestTurned(t *testing.T) {
	bars := barsOf([]scenario{
		{Name: "less", Ratios: []ratio{{Of: "a", To: "b", Ratio: 0.5, Low: 0.25, High: 1, Most: 0.4}}},
		{Name: "more", More: true, Ratios: []ratio{{Of: "a", To: "b", Ratio: 0.5, Low: 0.25, High: 1, Least: 0.8}, {Of: "a", To: "b", P99: true, Ratio: 2, Low: 1, High: 4, Most: 1.6}}},
	})
	want := []bar{
		{name: "less: a / b", at: 2, low: 1, high: 4, target: 2.5, beginsNew: true},
		{name: "more: a / b", at: 0.5, low: 0.25, high: 1, target: 0.8, beginsNew: true},
		{name: "more: a / b, p99", at: 0.5, low: 0.25, high: 1, target: 0.625},
	}
	if len(bars) != len(want) {
		t.Fatalf("barsOf gives %d bars, want %d", len(bars), len(want))
	}
	for i := range want {
		if bars[i] != want[i] {
			t.Errorf("barsOf gives %+v, want %+v", bars[i], want[i])
		}
	}
}

// TestRefused: a name becomes a file's, and a logarithm has no zero.
func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing to draw": `{}`,
		"a path":          `{"curves": [{"name": "../x", "lines": [{"name": "l", "points": [[1, 1], [2, 2]]}]}]}`,
		"no lines":        `{"curves": [{"name": "x"}]}`,
		"log of zero":     `{"curves": [{"name": "x", "log_x": true, "lines": [{"name": "l", "points": [[0, 1], [2, 2]]}]}]}`,
	} {
		file := filepath.Join(t.TempDir(), "r.json")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := drawFile(file, t.TempDir()); err == nil {
			t.Errorf("%s: drawn", name)
		}
	}
}
