// Package secretary is an application whose models obey any text, and do no harm: see README.md.
package secretary
