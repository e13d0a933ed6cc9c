package monitoring

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the files anew")

// What is committed is what the tables say.
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
			t.Errorf("%s is not what the tables say: go test ./examples/marketprism/monitoring -update", name)
		}
	}
}
