package dynamic

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"math/rand/v2"
)

//go:embed pages/*.html
var pageFiles embed.FS

// templates has one template for each page, which includes "head" and "foot".
var templates = template.Must(template.ParseFS(pageFiles, "pages/*.html"))

// The foundation is for a different cause on every page.
var (
	adjectives = []string{"Bashful", "Brave", "Elderly", "Gentle", "Homesick", "Nocturnal", "Peckish", "Retired", "Sleepy", "Vegetarian"}
	nouns      = []string{"Aardvarks", "Badgers", "Crocodiles", "Gnus", "Hyenas", "Lions", "Ostriches", "Penguins", "Tapirs", "Wombats"}
)

// frame is what every page has around its own content.
type frame struct {
	Title, Prefix, Nonce, User string
	Adjective, Noun            string
	Page                       any
}

// render writes a page, or nothing if its template fails.
func (p *page) render(name, title string, content any) error {
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, name+".html", frame{
		Title: title, Prefix: Prefix, Nonce: p.nonce, User: p.session.User,
		Adjective: adjectives[rand.IntN(len(adjectives))],
		Noun:      nouns[rand.IntN(len(nouns))],
		Page:      content,
	})
	if err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	p.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, err = p.w.Write(b.Bytes())
	return err
}
