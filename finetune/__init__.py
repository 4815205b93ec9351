"""The finetune room: turns what was said into adapters.

Dialogues are read (`sources`), cleaned and cut (`preparing`) into a training set (`training_set`)
of examples (`dataset`), learnt by TRL and PEFT (`training`), checked and published (`publishing`),
measured (`evaluation`) and handed on (`exporting`). `commands` is the command line.
"""
