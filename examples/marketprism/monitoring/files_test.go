package monitoring

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the files")

// The committed files equal those generated from the tables.
func TestFiles(t *testing.T) {
	for name, want := range Files() {
		name = filepath.Join("..", name)
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s differs from the tables: go test ./examples/marketprism/monitoring -update", name)
		}
	}
}
