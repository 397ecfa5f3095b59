package wire

import "testing"

// TestParseTrace: what is read is written again as the same, but for what we do not
// know of; testdata/vectors.json has the rest.
func TestParseTrace(t *testing.T) {
	for i, text := range texts {
		got, ok := ParseTrace(text)
		switch {
		case ok != (i < 3 || i == 4 || i == 5):
			t.Errorf("ParseTrace(%q) = %v, %v", text, got, ok)
		case !ok && !got.IsZero():
			t.Errorf("ParseTrace(%q) is none, and %v", text, got)
		case i < 2 && got.String() != text:
			t.Errorf("ParseTrace(%q) is written as %q", text, got)
		}
	}
	if got, _ := ParseTrace(texts[0]); got != traced {
		t.Errorf("ParseTrace(%q) = %v", texts[0], got)
	}
}

func FuzzParseTrace(f *testing.F) {
	for _, text := range texts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := ParseTrace(text)
		if !ok {
			return
		}
		if again, ok := ParseTrace(got.String()); !ok || again != got {
			t.Errorf("ParseTrace(%q) = %v, which is read as %v, %v", text, got, again, ok)
		}
		told := Told{Trace: got}
		if back, err := ParseTold(told.Append(nil)); err != nil || back.Trace != got {
			t.Errorf("%v crosses the border as %v, %v", got, back.Trace, err)
		}
	})
}
