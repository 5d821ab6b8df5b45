/* What a plugin of Headlight is: a shared library with one function, headlight_plugin_entry(), that returns a
 * descriptor. Plain C: no type of a C++ library crosses the border. Include this header, implement the function, build
 *
 *     cc -shared -fPIC -I <here> mine.c -o mine.so
 *
 * and load it with `headlight --plugin mine.so ...`. A plugin runs with the rights of the program: load only what you
 * trust.
 *
 * Rules. Everything a descriptor points to must live as long as the library. Callbacks return 0 when they are done;
 * else they have called `fail`, or the caller says that they failed. They throw nothing, and keep no pointer they were
 * given. They may run in several threads, each call with its own context.
 *
 * Versions. HEADLIGHT_PLUGIN_ABI changes when anything here does; a library that was built against another one is
 * refused. */
#ifndef HEADLIGHT_PLUGIN_H
#define HEADLIGHT_PLUGIN_H

#include <stdint.h>

#ifndef HEADLIGHT_PLUGIN_ABI
#define HEADLIGHT_PLUGIN_ABI 1
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A number that a person may set. */
typedef struct headlight_parameter {
  const char* name; /* snake_case */
  double fallback;  /* its value when it is not given */
  double low, high; /* both included */
  double identity;  /* the value that changes nothing; NaN = there is none. Interventions need one. */
  const char* doc;  /* one sentence */
} headlight_parameter;

typedef struct headlight_head {
  int32_t layer, head; /* query head */
} headlight_head;

typedef struct headlight_range {
  int64_t begin, end; /* tokens [begin, end) */
} headlight_range;

/* Keys [begin, end) and a number that belongs to them: ascending and disjoint in a step. */
typedef struct headlight_run {
  int64_t begin, end;
  float value;
} headlight_run;

/* ---- Interventions: they compile to steps that are built in ----------------------------------------------------- */

typedef struct headlight_changes {
  void* self;
  int32_t num_layers, num_heads, num_kv_heads, head_dim;
  int64_t num_prompt_tokens;
  const headlight_head* heads; /* of the scope, but for those whose parameters change nothing */
  int64_t num_heads_in_scope;
  const headlight_range* spans; /* tokens given by the person; 0 = none */
  int64_t num_spans;

  double (*number)(void* self, const char* name, headlight_head head);

  /* A step on the rows of the scope: s = scores, A = weights, R = their sum, m_g = share of group g of R.
   *   "scale_keys"       <q,k_j> *= value                     "temperature"      s *= constants[0]
   *   "raise"            s_j += |s_j| value                   "bias"             s_j += value; -INFINITY masks
   *   "weigh_groups"     A_j *= constants[group]              "move_from_sinks"  group 1 keeps constants[0] of its
   * weight "set_masses"       groups get shares of R               "mix_uniform"      A = (1-u) A + u R / n, u =
   * constants[0] "mix_reversed" "mix_random" "mix_shuffled" "mix_self"   "scale_values"     v_j *= value Groups are the
   * values 0 to 3 of runs. One step on weights for a row and head. */
  int (*add_step)(void* self, headlight_head head, const char* op, const headlight_run* runs, int64_t num_runs,
                  const float* constants /* [4], or null = zeros */, uint64_t seed);

  /* o' = keep * o + gain * vector, o = output of the head, [head_dim]; vector may be null. */
  int (*add_output)(void* self, headlight_head head, float keep, float gain, const float* vector);

  void (*fail)(void* self, const char* sentence);
} headlight_changes;

typedef struct headlight_intervention {
  const char* id; /* kebab-case, unique: begin with your own name */
  const char* title;
  const char* formula; /* one line */
  const char* source;  /* title of the paper, or "" */
  const headlight_parameter* parameters;
  int32_t num_parameters;
  int (*compile)(const headlight_changes* changes);
} headlight_intervention;

/* ---- Analyses: pure functions of a capture ---------------------------------------------------------------------- */

typedef struct headlight_record {
  void* self;
  const int32_t* layers; /* recorded layers, numbers in the model */
  int32_t num_layers, num_heads, num_kv_heads, head_dim;
  int64_t num_rows, num_prompt_tokens;

  double (*number)(void* self, const char* name);

  /* A row or column statistic of a recorded layer (its index), [num_heads][num_rows]; NaN = not recorded. */
  int (*statistic)(void* self, const char* id, int32_t layer, float* values);
  /* Exact attention of rows [begin, end) of a head, [end - begin][num_rows]; needs a capture of level replay. */
  int (*attention)(void* self, int32_t layer, int32_t head, int64_t begin, int64_t end, float* values);

  /* A named array of the report. axes: "layer,head", in memory order; low, high: range by definition. */
  int (*add_series)(void* self, const char* id, const char* unit, const char* formula, const char* axes,
                    const int64_t* shape, int32_t num_axes, const double* values, double low, double high);
  void (*add_note)(void* self, const char* sentence);
  void (*fail)(void* self, const char* sentence);
} headlight_record;

typedef struct headlight_analysis {
  const char* id; /* kebab-case, unique */
  const char* title;
  const char* summary; /* one sentence */
  const char* source;
  int32_t needs_replay; /* 1: attention() is called */
  const headlight_parameter* parameters;
  int32_t num_parameters;
  int (*run)(const headlight_record* record);
} headlight_analysis;

/* ---- The library ------------------------------------------------------------------------------------------------- */

typedef struct headlight_plugin {
  uint32_t abi;  /* HEADLIGHT_PLUGIN_ABI; read before anything else */
  uint32_t size; /* sizeof(headlight_plugin) */
  const char *name, *version;
  const headlight_intervention* interventions;
  int32_t num_interventions;
  const headlight_analysis* analyses;
  int32_t num_analyses;
} headlight_plugin;

const headlight_plugin* headlight_plugin_entry(void);

#ifdef __cplusplus
}
#endif
#endif
