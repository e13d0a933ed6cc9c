package marketprism_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/types"
	"maps"
	"path"
	"slices"
	"strings"
)

// maxExported bounds the exported names of a package, see checkExported.
var maxExported = map[string]int{"natsbus": 100, "binance": 145, "chstore": 120, "orderbook": 125, "sink": 60}

// maxBackArrows bounds the calls that run back up in a package, see checkArrows. A number may only
// go down; what is not listed has none.
var maxBackArrows = map[string]int{
	"binance":                         8,
	"binance/binancetest":             5,
	"examples/marketprism/command":    3,
	"examples/marketprism/metrics":    2,
	"examples/marketprism/monitoring": 1,
	"examples/marketprism/page":       1,
	"examples/marketprism/pipeline":   3,
	"internal/natsserver":             1,
	"internal/wal":                    2,
	"natsbus":                         1,
	"orderbook":                       2,
	"sink":                            1,
}

func matchesPlatform(f *houseFile) (bool, error) {
	return build.Default.MatchFile(path.Dir(f.path), f.name)
}

// checkDoc: a package has a doc comment, and a name that says something.
func checkDoc(p *housePackage) (breaches []breach) {
	forbidden := []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "lib", "base"}
	if slices.Contains(forbidden, p.types.Name()) {
		breaches = append(breaches, breach{p.types.Name(), "package " + p.name + " has a name that says nothing"})
	}
	if !slices.ContainsFunc(p.files, func(f *houseFile) bool { return f.syntax.Doc.Text() != "" }) {
		breaches = append(breaches, breach{"doc", "package " + p.name + " has no doc comment"})
	}
	return breaches
}

// checkInit: nothing runs before main.
func checkInit(p *housePackage) (breaches []breach) {
	for _, f := range p.goFiles() {
		for _, decl := range f.syntax.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				breaches = append(breaches, breach{f.name, f.path + " has a func init"})
			}
		}
	}
	return breaches
}

// checkMethods: a type with its methods is in at most four files, whose names start with the same
// word: shard.go, shard_events.go, shard_output.go.
func checkMethods(p *housePackage) (breaches []breach) {
	const maxFiles = 4
	files := make(map[string][]string) // by type: the files of its declaration and methods
	for _, f := range p.files {
		for _, decl := range f.syntax.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if name := receiver(decl); name != "" {
					files[name] = append(files[name], f.stem())
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok {
						files[spec.Name.Name] = append(files[spec.Name.Name], f.stem())
					}
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		stems := slices.Compact(slices.Sorted(slices.Values(files[name])))
		if len(stems) > maxFiles {
			breaches = append(breaches, breach{name, fmt.Sprintf("%s.%s is in %d files, more than %d: %s",
				p.name, name, len(stems), maxFiles, strings.Join(stems, ", "))})
			continue
		}
		first, _, _ := strings.Cut(stems[0], "_")
		for _, stem := range stems[1:] {
			if stem != first && !strings.HasPrefix(stem, first+"_") {
				breaches = append(breaches, breach{name, fmt.Sprintf("%s.%s is in files whose names do not start with the same word: %s",
					p.name, name, strings.Join(stems, ", "))})
				break
			}
		}
	}
	return breaches
}

// receiver returns the name of the type of a method, and "" for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	expr := fn.Recv.List[0].Type
	for {
		switch x := expr.(type) {
		case *ast.StarExpr:
			expr = x.X
		case *ast.IndexExpr:
			expr = x.X
		case *ast.IndexListExpr:
			expr = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// checkFiles: a file has 100 to 450 lines. One file in four may have 60 to 99, where a subject of its
// own is that small. Below 60 there are only doc.go, files for one platform, and packages of one
// file. Programs (examples, benchmarks) are free of the lower limits: a command is as long as it is.
func checkFiles(p *housePackage) (breaches []breach) {
	const (
		most  = 450
		full  = 100
		least = 60
	)
	isProgram := strings.HasPrefix(p.name, "examples/") || strings.HasPrefix(p.name, "internal/bench/")
	var short []string
	for _, f := range p.files {
		switch {
		case f.lines > most:
			breaches = append(breaches, breach{f.name, fmt.Sprintf("%s has %d lines, more than %d", f.path, f.lines, most)})
		case isProgram || f.name == "doc.go" || len(p.files) == 1 || isForPlatform(f):
		case f.lines < least:
			breaches = append(breaches, breach{f.name, fmt.Sprintf("%s has %d lines, less than %d", f.path, f.lines, least)})
		case f.lines < full:
			short = append(short, f.path)
		}
	}
	if most := (len(p.files) + 3) / 4; len(short) > most {
		breaches = append(breaches, breach{"short", fmt.Sprintf("%s has %d files of %d to %d lines, more than one in four (%d): %s",
			p.name, len(short), least, full-1, most, strings.Join(short, ", "))})
	}
	return breaches
}

// isForPlatform reports whether a file has a build constraint, in its text or in its name.
func isForPlatform(f *houseFile) bool {
	if strings.Contains(f.text, "\n//go:build ") || strings.HasPrefix(f.text, "//go:build ") {
		return true
	}
	return slices.ContainsFunc([]string{"_linux", "_darwin", "_windows", "_unix", "_amd64", "_arm64"}, func(s string) bool { return strings.HasSuffix(f.stem(), s) })
}

// checkTestFiles: a test file has at most 900 lines.
func checkTestFiles(p *housePackage) (breaches []breach) {
	const most = 900
	for _, f := range p.tests {
		if f.lines > most {
			breaches = append(breaches, breach{f.name, fmt.Sprintf("%s has %d lines, more than %d", f.path, f.lines, most)})
		}
	}
	return breaches
}

// checkFields: a struct has at most 25 fields; a larger one is made of named sub-states.
func checkFields(p *housePackage) (breaches []breach) {
	const most = 25
	for _, f := range p.files {
		for name, st := range structs(f) {
			if n := st.Fields.NumFields(); n > most {
				breaches = append(breaches, breach{name, fmt.Sprintf("%s: struct %s has %d fields, more than %d", f.path, name, n, most)})
			}
		}
	}
	return breaches
}

// structs returns the struct types that a file declares at package level, by name.
func structs(f *houseFile) map[string]*ast.StructType {
	found := make(map[string]*ast.StructType)
	for _, decl := range f.syntax.Decls {
		if decl, ok := decl.(*ast.GenDecl); ok {
			for _, spec := range decl.Specs {
				if spec, ok := spec.(*ast.TypeSpec); ok {
					if st, ok := spec.Type.(*ast.StructType); ok {
						found[spec.Name.Name] = st
					}
				}
			}
		}
	}
	return found
}

// checkExported: a package exports at most maxExported names. Package-level identifiers count, and the
// exported methods of exported types but for Error, Unwrap, Is and String.
func checkExported(p *housePackage) []breach {
	most, ok := maxExported[p.name]
	if !ok {
		return nil
	}
	n := 0
	for _, name := range p.types.Scope().Names() {
		obj := p.types.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		n++
		for fn := range exportedMethods(obj) {
			if !slices.Contains([]string{"Error", "Unwrap", "Is", "String"}, fn.Name()) {
				n++
			}
		}
	}
	if n > most {
		return []breach{{"names", fmt.Sprintf("%s exports %d names, more than %d", p.name, n, most)}}
	}
	return nil
}

// exportedMethods yields the exported methods declared on a type, without embedded ones.
func exportedMethods(obj types.Object) func(func(*types.Func) bool) {
	return func(yield func(*types.Func) bool) {
		named, ok := obj.Type().(*types.Named)
		if _, isType := obj.(*types.TypeName); !ok || !isType {
			return
		}
		for fn := range named.Methods() {
			if fn.Exported() && !yield(fn) {
				return
			}
		}
	}
}

// checkArrays: no exported variable, field or result is an array, whose length could not grow without
// breaking callers. Arrays of bytes are as long as their format says.
func checkArrays(p *housePackage) (breaches []breach) {
	if strings.HasPrefix(p.name, "internal/") || strings.HasPrefix(p.name, "examples/") {
		return nil
	}
	report := func(name string, typ types.Type) {
		if array, ok := typ.Underlying().(*types.Array); ok && array.Elem() != types.Typ[types.Byte] {
			breaches = append(breaches, breach{name, fmt.Sprintf("%s.%s is exported as an array, whose length cannot grow", p.name, name)})
		}
	}
	results := func(prefix string, fn *types.Func) {
		for v := range fn.Signature().Results().Variables() {
			report(prefix+fn.Name(), v.Type())
		}
	}
	for _, name := range p.types.Scope().Names() {
		obj := p.types.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Var:
			report(name, obj.Type())
		case *types.Func:
			results("", obj)
		case *types.TypeName:
			report(name, obj.Type())
			if st, ok := obj.Type().Underlying().(*types.Struct); ok {
				for field := range st.Fields() {
					if field.Exported() {
						report(name+"."+field.Name(), field.Type())
					}
				}
			}
			for fn := range exportedMethods(obj) {
				results(name+".", fn)
			}
		}
	}
	return breaches
}

// checkShutdown: Run takes a context first and returns an error, Close returns an error, and no exported
// method has another name for shutting down.
func checkShutdown(p *housePackage) (breaches []breach) {
	for _, name := range p.types.Scope().Names() {
		obj := p.types.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		for fn := range exportedMethods(obj) {
			sig, subject := fn.Signature(), name+"."+fn.Name()
			returnsError := sig.Results().Len() == 1 && sig.Results().At(0).Type().String() == "error"
			switch fn.Name() {
			case "Run":
				if !returnsError || sig.Params().Len() == 0 || sig.Params().At(0).Type().String() != "context.Context" {
					breaches = append(breaches, breach{subject, fmt.Sprintf("%s.%s is not a Run(ctx, …) error", p.name, subject)})
				}
			case "Close":
				if !returnsError || sig.Params().Len() != 0 {
					breaches = append(breaches, breach{subject, fmt.Sprintf("%s.%s is not a Close() error", p.name, subject)})
				}
			case "Stop", "Shutdown", "Drain", "End", "Quit", "Finish", "Kill", "Terminate":
				breaches = append(breaches, breach{subject, fmt.Sprintf("%s.%s: the verb of shutdown is Close", p.name, subject)})
			}
		}
	}
	return breaches
}

// checkArrows: the calls between the files of a package point down. An arrow is drawn from one file to
// another if it calls, or takes as a value, a function or method declared there. The arrows that run back
// up are those left over when the files are put in the best order found.
func checkArrows(p *housePackage) []breach {
	arrows := callArrows(p)
	back := backArrows(arrows)
	if most := maxBackArrows[p.name]; len(back) > most {
		return []breach{{"arrows", fmt.Sprintf("%s: %d calls run back up, more than %d: %s", p.name, len(back), most, strings.Join(back, ", "))}}
	}
	return nil
}

// callArrows returns, by file, the other files of the package it calls into.
func callArrows(p *housePackage) map[string]map[string]bool {
	arrows := make(map[string]map[string]bool)
	for _, f := range p.files {
		arrows[f.name] = make(map[string]bool)
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			ident, ok := n.(*ast.Ident)
			if !ok {
				return true
			}
			fn, ok := p.info.Uses[ident].(*types.Func)
			if !ok || fn.Pkg() != p.types || isAbstract(fn) {
				return true
			}
			if to := p.file(fn.Pos()); to != nil && to != f {
				arrows[f.name][to.name] = true
			}
			return true
		})
	}
	return arrows
}

// isAbstract reports whether fn is a method of an interface.
func isAbstract(fn *types.Func) bool {
	recv := fn.Signature().Recv()
	return recv != nil && types.IsInterface(recv.Type())
}

// backArrows orders the files so that few arrows run back up, and returns those. Of the files that are
// left, one that calls none of the others goes to the bottom, one that none of them calls to the top;
// where there is neither, the one with the most calls in excess of callers goes to the top (Eades, Lin
// and Smyth, "A fast and effective heuristic for the feedback arc set problem", 1993).
func backArrows(arrows map[string]map[string]bool) (back []string) {
	left := slices.Sorted(maps.Keys(arrows))
	excess := func(file string) (out, in int) {
		for _, other := range left {
			if arrows[file][other] {
				out++
			}
			if arrows[other][file] {
				in++
			}
		}
		return out, in
	}
	var top, bottom []string
	for len(left) > 0 {
		next, atBottom := left[0], false
		bestDelta := -len(arrows)
		for _, file := range left {
			out, in := excess(file)
			if out == 0 {
				next, atBottom = file, true
				break
			}
			if in == 0 {
				next = file
				break
			}
			if out-in > bestDelta {
				next, bestDelta = file, out-in
			}
		}
		if atBottom {
			bottom = append(bottom, next)
		} else {
			top = append(top, next)
		}
		left = slices.DeleteFunc(left, func(file string) bool { return file == next })
	}
	slices.Reverse(bottom)
	order := improve(append(top, bottom...), arrows)
	for i, below := range order {
		for _, above := range order[:i] {
			if arrows[below][above] {
				back = append(back, below+" → "+above)
			}
		}
	}
	slices.SortFunc(back, cmp.Compare[string])
	return back
}

// improve moves files to where fewer arrows run back up, as long as that helps.
func improve(order []string, arrows map[string]map[string]bool) []string {
	for changed := true; changed; {
		changed = false
		for i := range order {
			file := order[i]
			rest := slices.Delete(slices.Clone(order), i, i+1)
			cost := 0 // of file at the top: all its callers are below it
			for _, other := range rest {
				if arrows[other][file] {
					cost++
				}
			}
			best, bestCost, here := i, 0, 0
			costs := []int{cost}
			for _, other := range rest {
				if arrows[other][file] {
					cost--
				}
				if arrows[file][other] {
					cost++
				}
				costs = append(costs, cost)
			}
			here = costs[i]
			bestCost = here
			for at, c := range costs {
				if c < bestCost {
					best, bestCost = at, c
				}
			}
			if bestCost < here {
				order = slices.Insert(rest, best, file)
				changed = true
			}
		}
	}
	return order
}
