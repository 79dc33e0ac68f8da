package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"
)

// format is a flag for the output format: for people, or machine-readable.
type format string

var _ pflag.Value = (*format)(nil)

const (
	asText format = "text"
	asJSON format = "json"
	asYAML format = "yaml"

	formats = "text, json or yaml"
)

// Set implements pflag.Value.
func (f *format) Set(s string) error {
	if !slices.Contains([]format{asText, asJSON, asYAML}, format(s)) {
		return errors.New("allowed is " + formats)
	}
	*f = format(s)
	return nil
}

// String implements pflag.Value.
func (f *format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *format) Type() string { return "FORMAT" }

// outputFlag adds a flag for all formats.
func outputFlag(c *cobra.Command, usage string) *format {
	f := asText
	c.Flags().VarP(&f, "output", "o", usage+"`FORMAT` "+formats)
	fixed(c, "output", "text", "json", "yaml")
	return &f
}

// never is the encoding of an unknown time, or one that will not come. It must not be taken for a date.
var never = []byte(`"0001-01-01T00:00:00Z"`)

// encode prints a value as JSON or YAML. YAML is converted from the JSON, so it has the same names.
func (f format) encode(w io.Writer, v any) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	out := bytes.ReplaceAll(buf.Bytes(), never, []byte("null"))
	if f == asYAML {
		var err error
		if out, err = yaml.JSONToYAML(out); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
	}
	_, err := w.Write(out)
	return err
}
